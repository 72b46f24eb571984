"""`python -m loadtest report DIR…`: from the raw logs of runs to a page, JSON, CSV and a picture."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from loadtest.analysis.analyse import Analysis, analyse
from loadtest.analysis.settings import SettingsError, kept
from loadtest.raw_log import RUN, RawLog, RawLogError
from loadtest.report.csv_file import to_csv
from loadtest.report.json_file import NAME as JSON_FILE
from loadtest.report.json_file import to_json
from loadtest.report.page import to_html
from loadtest.report.picture import PictureError, find_browser, take_picture
from loadtest.report.search_section import search_sections
from loadtest.report.sweep_section import section_of
from loadtest.run_folder import replace_file
from loadtest.search.search_file import SEARCH, SearchFileError, resume
from loadtest.search.sweep_file import SWEEP, Sweep, SweepFileError, searches
from loadtest.search.tiers import TiersSearch
from loadtest.terminal import make_console, say
from pipeline.options.spelling import with_underscores

HTML_FILE = "report.html"
MOST_BYTES = 6_000_000

_FLAGS = ("out", "csv", "png", "json", "deadline_s")


class ReportError(Exception):
    """A report cannot be made; the message says why, and what to do."""


def report_command(arguments: Sequence[str]) -> int:
    """Write the report of one or several runs and return the exit code.

    Returns:
        0; 1 if a run is INVALID, or a report cannot be made; 2 for wrong flags.
    """
    flags = _parser().parse_args(with_underscores(arguments, list(_FLAGS)))
    try:
        browser = find_browser() if flags.png else ""
    except PictureError as error:
        print(f"loadtest: {error}", file=sys.stderr)
        return 2
    try:
        content = _read(flags.folders, flags.deadline_s)
        written = _write(content, flags, browser)
    except (RawLogError, SettingsError, SearchFileError, SweepFileError, ReportError, PictureError) as error:
        print(f"loadtest: {error}", file=sys.stderr)
        return 1
    if flags.json:
        sys.stdout.write(_joined([to_json(analysis).decode() for analysis in content.runs.values()]))
    else:
        _print(content, written)
    return 1 if any(not analysis.validity.valid for analysis in content.runs.values()) else 0


@dataclass(frozen=True)
class _Content:
    """What the folders hold, by folder."""

    runs: dict[Path, Analysis]
    searches: dict[Path, TiersSearch]
    sweeps: dict[Path, Sweep]


def _read(folders: Sequence[Path], deadline_s: float | None) -> _Content:
    searches = {folder: resume(folder / SEARCH) for folder in folders if (folder / SEARCH).is_file()}
    sweeps = {folder: Sweep.read(folder / SWEEP) for folder in folders if (folder / SWEEP).is_file()}
    # The folder of a search need not be that of a run; one that is none of them is told of as no run.
    others = {*searches, *sweeps}
    runs = [folder for folder in folders if folder not in others or (folder / RUN).is_file()]
    settings = {folder: kept(folder) for folder in runs}
    if deadline_s is not None:
        settings = {folder: replace(of_run, deadline_s=deadline_s) for folder, of_run in settings.items()}
    analyses = {folder: analyse(RawLog.read(folder), of_run) for folder, of_run in settings.items()}
    return _Content(analyses, searches, sweeps)


def _write(content: _Content, flags: argparse.Namespace, browser: str) -> list[Path]:
    """Write every file that is asked for and return their paths, the page's first."""
    page = flags.out or flags.folders[0] / HTML_FILE
    analyses = list(content.runs.values())
    names = [str(folder) for folder in content.runs]
    found = [(str(folder), search) for folder, search in content.searches.items()]
    for folder, sweep in content.sweeps.items():
        found += searches(folder, sweep).items()
    html = to_html(
        analyses,
        names,
        [search for _, search in found],
        search_names=[name if len(found) > 1 else "" for name, _ in found],
        sweeps=[section_of(sweep) for sweep in content.sweeps.values()],
    ).encode()
    if len(html) > MOST_BYTES:
        raise ReportError(
            f"the page of {len(analyses)} runs would have {len(html) / 1e6:.1f} MB, at most "
            f"{MOST_BYTES / 1e6:g} open well: give fewer folders"
        )
    contents = {page: html}
    contents |= {folder / JSON_FILE: to_json(analysis) for folder, analysis in content.runs.items()}
    if flags.csv:
        contents[flags.csv] = to_csv(analyses).encode()
    for path, text in contents.items():
        try:
            replace_file(path, text)
        except OSError as error:
            raise ReportError(
                f"{path} cannot be written ({error.strerror}): give a file in a folder that you may write to"
            ) from error
    if flags.png:
        take_picture(browser, page, flags.png)
        return [*contents, flags.png]
    return list(contents)


def _joined(texts: Sequence[str]) -> str:
    return texts[0] if len(texts) == 1 else "[\n" + ",".join(texts) + "]\n"


def _print(content: _Content, written: Sequence[Path]) -> None:
    console = make_console()
    for folder, sweep in content.sweeps.items():
        swept = section_of(sweep)
        say(console, f"{folder}: {swept.kicker}: {swept.outcome}", style="bold")
        for sentence in (swept.headline, *swept.sentences):
            say(console, f"  {sentence}")
    for folder, search in content.searches.items():
        for section in search_sections(search):
            say(console, f"{folder}: {section.objectives}: {section.outcome}", style="bold")
            for sentence in (section.headline, *section.sentences):
                say(console, f"  {sentence}")
    for folder, analysis in content.runs.items():
        verdict = analysis.verdict
        say(console, f"{folder}: {verdict.outcome}", style="bold")
        for sentence in (verdict.headline, *verdict.sentences):
            say(console, f"  {sentence}")
    for path in written:
        say(console, f"  {path}", whole=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m loadtest report",
        description="Make one page out of the raw logs of runs, and report.json in each folder.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "folders",
        nargs="+",
        type=Path,
        metavar="DIR",
        help="folder of a run, of a search or of a sweep; runs are compared",
    )
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help=f"HTML file (default: {HTML_FILE} in the first folder)"
    )
    parser.add_argument("--csv", type=Path, metavar="FILE", help="series of each second, comma-separated")
    parser.add_argument(
        "--png", type=Path, metavar="FILE", help="picture of the page; needs Chromium or Chrome"
    )
    parser.add_argument("--json", action="store_true", help="print report.json, and nothing else")
    parser.add_argument(
        "--deadline_s",
        type=_seconds,
        metavar="SECONDS",
        help="an answer after it is late, and a missing one counts as at least as long (default: none)",
    )
    return parser


def _seconds(text: str) -> float:
    seconds = float(text)
    if not (math.isfinite(seconds) and seconds > 0):
        raise argparse.ArgumentTypeError(f"{text} must be a number of seconds above 0")
    return seconds
