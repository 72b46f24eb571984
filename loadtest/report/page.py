"""One HTML file with everything in it: it needs no network and opens from a disk."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import orjson
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from loadtest.analysis.analyse import Analysis
from loadtest.report.chart import Chart
from loadtest.report.charts import charts, marks
from loadtest.report.comparison import compared, comparison_charts
from loadtest.report.limit_section import LimitSection, limit_section
from loadtest.report.resource_charts import resource_charts, unavailable
from loadtest.report.rounding import rounded
from loadtest.report.search_section import search_sections
from loadtest.report.sweep_section import HEAD as SWEEP_HEAD
from loadtest.report.sweep_section import SweepSection
from loadtest.report.tables import (
    account,
    facts,
    key_figures,
    latency_rows,
    regime_rows,
    scaling_rows,
    stage_rows,
)
from loadtest.search.tiers import TiersSearch

_PAGE = Path(__file__).parent / "page"
_VENDOR = Path(__file__).parent / "vendor"

# Of a value in a chart: a pixel is a thousandth of its height.
_DIGITS = 4


def to_html(
    analyses: Sequence[Analysis],
    names: Sequence[str],
    searches: Sequence[TiersSearch] = (),
    limit: LimitSection | None = None,
    *,
    search_names: Sequence[str] = (),
    sweeps: Sequence[SweepSection] = (),
) -> str:
    """Return the page.

    Whatever comes from a run is escaped, and the page's own scripts are the only ones that a browser may run:
    their hashes stand in its content security policy.

    Args:
        analyses: Of the runs; the first is what others are compared with.
        names: Of each run, for people, such as its folder.
        searches: Whose answers come before the runs.
        limit: What limits the system, of the run that shows it best, in the place of each run's own.
        search_names: Of each search, where there are several; by default none.
        sweeps: That come first of all.
    """
    environment = Environment(
        loader=FileSystemLoader(_PAGE), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    scripts = [(_VENDOR / "uPlot.iife.min.js").read_text(), (_PAGE / "charts.js").read_text()]
    styles = [(_VENDOR / "uPlot.min.css").read_text(), (_PAGE / "style.css").read_text()]
    drawn = _Charts()
    runs = [
        {
            "name": name,
            "analysis": analysis,
            "started": _date(analysis.facts.started),
            "figures": key_figures(analysis),
            "latency": latency_rows(analysis),
            "marks": marks(analysis),
            "charts": drawn.add(charts(analysis)),
            "stages": stage_rows(analysis),
            "limit": limit_section(analysis.bottleneck) if analysis.bottleneck and not limit else None,
            "resources": drawn.add(resource_charts(analysis)),
            "unavailable": unavailable(analysis),
            "regimes": regime_rows(analysis),
            "scalings": scaling_rows(analysis),
            "account": account(analysis),
            "facts": facts(analysis),
        }
        for name, analysis in zip(names, analyses, strict=True)
    ]
    several = len(analyses) > 1
    named = zip(search_names or [""] * len(searches), searches, strict=True)
    swept = [(section, drawn.add(section.charts)) for section in sweeps]
    tiers = [
        (section, drawn.add(section.charts))
        for name, search in named
        for section in search_sections(search, name)
    ]
    verdicts = [section.headline for section in sweeps] + [section.headline for section, _ in tiers]
    verdicts += [each.verdict.headline for each in analyses]
    return environment.get_template("page.html").render(
        title=verdicts[0],
        sweeps=swept,
        sweep_head=SWEEP_HEAD,
        tiers=tiers,
        limit=limit,
        runs=runs,
        compared=compared(analyses, names) if several else None,
        compared_charts=drawn.add(comparison_charts(analyses, names)) if several else [],
        scripts=[Markup(script) for script in scripts],
        styles=[Markup(style) for style in styles],
        script_hashes=[_hash(script) for script in scripts],
        charts=Markup(_in_script(drawn.all)),
        licence=(_VENDOR / "LICENSE-uPlot.txt").read_text(),
    )


class _Charts:
    """All charts of a page; each has a number, by which the script finds its place."""

    def __init__(self) -> None:
        self.all: list[Chart] = []

    def add(self, found: list[Chart]) -> list[tuple[int, Chart]]:
        numbered = list(enumerate(found, start=len(self.all)))
        self.all += found
        return numbered


def _in_script(found: list[Chart]) -> str:
    """Return JSON that no text in it can end the script element, or begin a comment, with."""
    text = orjson.dumps(rounded(found, _DIGITS)).decode()
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _hash(script: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def _date(epoch_s: float) -> str:
    return datetime.fromtimestamp(epoch_s, UTC).strftime("%Y-%m-%d %H:%M UTC")
