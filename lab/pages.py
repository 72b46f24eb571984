"""The page of what a folder holds, the same whether a command has just measured it or `report` reads it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from lab.audit import REPEATED, UNIQUE
from lab.found import Found
from lab.together import COMBINED, TOGETHER, Combined
from lab.trying import Tried
from loadtest.analysis.analyse import Analysis, analyse
from loadtest.analysis.settings import kept
from loadtest.raw_log import RUN, RawLog
from loadtest.report.lead_section import LeadSection
from loadtest.report.page import to_html
from loadtest.report.search_section import Searched
from loadtest.report.sweep_section import SweepSection, section_of
from loadtest.run_folder import replace_file
from loadtest.search.search_file import SEARCH
from loadtest.search.sweep_file import SWEEP, Sweep, searches

HTML_FILE = "report.html"


@dataclass
class Content:
    """What folders hold.

    Attributes:
        leads: Of each `combined`.
        sweeps: Of each sweep, and of each change that was tried.
        searches: With their most telling runs.
        runs: By folder.
        files: What was measured, but for the runs, as JSON.
    """

    leads: list[LeadSection] = field(default_factory=list)
    sweeps: list[SweepSection] = field(default_factory=list)
    searches: list[Searched] = field(default_factory=list)
    runs: dict[Path, Analysis] = field(default_factory=dict)
    files: list[Path] = field(default_factory=list)

    def page(self) -> bytes:
        """Return the page."""
        names = [str(folder) for folder in self.runs]
        return to_html(
            list(self.runs.values()), names, self.searches, sweeps=self.sweeps, leads=self.leads
        ).encode()


def read(folders: Sequence[Path], deadline_s: float | None = None) -> Content:
    """Return what folders hold: of runs, searches, sweeps, or job and endpoint together.

    Args:
        folders: At least one.
        deadline_s: Of the runs, in the place of the one that is kept with each; None: that one.

    Raises:
        RawLogError, SettingsError, SearchFileError, SweepFileError, CombinedFileError: One holds none of
            them, or what it holds is damaged.
    """
    content = Content()
    for folder in folders:
        known = [name for name in _READERS if (folder / name).is_file()]
        for name in known:
            _READERS[name](folder, content, str(folder) if len(folders) > 1 else "")
        # The folder of a search need not be that of a run; one that is none of them is told of as no run.
        if not known or (folder / RUN).is_file():
            for of_run in _runs(folder):
                settings = kept(of_run)
                if deadline_s is not None:
                    settings = replace(settings, deadline_s=deadline_s)
                content.runs[of_run] = analyse(RawLog.read(of_run), settings)
    return content


def write_page(folder: Path) -> Path:
    """Write the page of what a folder holds into it, and return its path."""
    page = folder / HTML_FILE
    replace_file(page, read([folder]).page())
    return page


def _runs(folder: Path) -> list[Path]:
    """Return the folder of a run, or those of both runs of an audit."""
    both = [folder / name for name in (REPEATED, UNIQUE) if (folder / name / RUN).is_file()]
    return [folder] if (folder / RUN).is_file() else both or [folder]


def _combined(folder: Path, content: Content, name: str) -> None:
    content.files.append(folder / COMBINED)
    content.leads.append(Combined.read(folder / COMBINED).section())
    content.searches.append(Found.read(folder / TOGETHER).searched(name))


def _sweep(folder: Path, content: Content, name: str) -> None:
    content.files.append(folder / SWEEP)
    sweep = Sweep.read(folder / SWEEP)
    content.sweeps.append(section_of(sweep))
    found = searches(folder, sweep).items()
    content.searches += [Searched(search, f"{name}: {flags}" if name else flags) for flags, search in found]


def _search(folder: Path, content: Content, name: str) -> None:
    content.files.append(folder / SEARCH)
    found = Found.read(folder)
    tried = Tried.read(folder, found.search)
    if tried is None:
        content.searches.append(found.searched(name))
        return
    content.sweeps.append(tried.section())
    content.searches.append(found.searched(tried.before.name))
    content.searches.append(Searched(tried.search, tried.after.name))


_READERS: Mapping[str, Callable[[Path, Content, str], None]] = {
    COMBINED: _combined,
    SWEEP: _sweep,
    SEARCH: _search,
}
