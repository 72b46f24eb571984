"""`./launch.sh loadtest report DIR…`: from what was measured to a page, JSON, CSV and a picture."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from lab.pages import HTML_FILE, Content, read
from lab.together import CombinedFileError
from loadtest.analysis.settings import SettingsError
from loadtest.raw_log import RawLogError
from loadtest.report.csv_file import to_csv
from loadtest.report.json_file import NAME as JSON_FILE
from loadtest.report.json_file import to_json
from loadtest.report.lead_section import LeadSection
from loadtest.report.limit_section import limit_lines
from loadtest.report.picture import PictureError, find_browser, take_picture
from loadtest.report.search_section import TierSection, search_sections
from loadtest.report.sweep_section import SweepSection
from loadtest.run_folder import replace_file
from loadtest.search.search_file import SearchFileError
from loadtest.search.sweep_file import SweepFileError
from loadtest.terminal import complain, make_console, say, say_file
from pipeline.options.spelling import with_underscores

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
        complain(f"loadtest: {error}")
        return 2
    try:
        content = read(flags.folders, flags.deadline_s)
        written = _write(content, flags, browser)
    except (
        CombinedFileError, PictureError, RawLogError, ReportError, SearchFileError, SettingsError,
        SweepFileError,
    ) as error:  # fmt: skip
        complain(f"loadtest: {error}")
        return 1
    if flags.json:
        texts = [path.read_text() for path in content.files]
        sys.stdout.write(_joined([*texts, *(to_json(run).decode() for run in content.runs.values())]))
    else:
        _print(content, written)
    return 1 if any(not analysis.validity.valid for analysis in content.runs.values()) else 0


def _write(content: Content, flags: argparse.Namespace, browser: str) -> list[Path]:
    """Write every file that is asked for and return their paths, the page's first."""
    page = flags.out or flags.folders[0] / HTML_FILE
    analyses = list(content.runs.values())
    html = content.page()
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


def _print(content: Content, written: Sequence[Path]) -> None:
    console = make_console()
    for lead in content.leads:
        _say_section(console, lead.kicker, lead)
    for swept in content.sweeps:
        _say_section(console, swept.kicker, swept)
    for searched in content.searches:
        for tier in search_sections(searched.search):
            _say_section(console, ": ".join(filter(None, (searched.name, tier.objectives))), tier)
        if searched.limit:
            for text in limit_lines(searched.limit):
                say(console, text)
    for folder, analysis in content.runs.items():
        verdict = analysis.verdict
        say(console, f"{folder}: {verdict.outcome}", style="bold")
        for sentence in (verdict.headline, *verdict.sentences):
            say(console, f"  {sentence}")
    for path in written:
        say_file(console, path)


def _say_section(console: Console, name: str, section: LeadSection | SweepSection | TierSection) -> None:
    say(console, f"{name}: {section.outcome}", style="bold")
    for sentence in (section.headline, *section.sentences):
        say(console, f"  {sentence}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="./launch.sh loadtest report",
        description="Make one page of what was measured, and report.json in the folder of each run.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "folders",
        nargs="+",
        type=Path,
        metavar="DIR",
        help="folder of run, search, sweep or combined; runs are compared",
    )
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help=f"HTML file (default: {HTML_FILE} in the first folder)"
    )
    parser.add_argument("--csv", type=Path, metavar="FILE", help="series of each second, comma-separated")
    parser.add_argument(
        "--png", type=Path, metavar="FILE", help="picture of the page; needs Chromium or Chrome"
    )
    parser.add_argument(
        "--json",
        action="store_true",
        help="print the figures, of a run its report.json, and nothing else",
    )
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
