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
from loadtest.report.lead_section import LeadSection
from loadtest.report.limit_section import limit_section
from loadtest.report.resource_charts import resource_charts, unavailable
from loadtest.report.rounding import rounded
from loadtest.report.search_section import Searched, search_sections
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

_PAGE = Path(__file__).parent / "page"
_VENDOR = Path(__file__).parent / "vendor"

# Of a value in a chart: a pixel is a thousandth of its height.
_DIGITS = 4


def to_html(
    analyses: Sequence[Analysis],
    names: Sequence[str],
    searches: Sequence[Searched] = (),
    *,
    sweeps: Sequence[SweepSection] = (),
    leads: Sequence[LeadSection] = (),
) -> str:
    """Return the page.

    Whatever comes from a run is escaped, and the page's own scripts are the only ones that a browser may run:
    their hashes stand in its content security policy.

    Args:
        analyses: Of the runs; the first is what others are compared with.
        names: Of each run, for people, such as its folder.
        searches: Whose answers come before the runs, and whose own runs come before others.
        sweeps: That come before the searches.
        leads: That come first of all.
    """
    environment = Environment(
        loader=FileSystemLoader(_PAGE), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    scripts = [(_VENDOR / "uPlot.iife.min.js").read_text(), (_PAGE / "charts.js").read_text()]
    styles = [(_VENDOR / "uPlot.min.css").read_text(), (_PAGE / "style.css").read_text()]
    drawn = _Charts()
    # Where the probe that shows it best tells of the limit, another's would contradict it.
    all_runs = [
        (name, analysis, None if searched.limit else analysis.bottleneck)
        for searched in searches
        for name, analysis in searched.runs.items()
    ]
    all_runs += [
        (name, analysis, analysis.bottleneck) for name, analysis in zip(names, analyses, strict=True)
    ]
    names, analyses = [name for name, _, _ in all_runs], [analysis for _, analysis, _ in all_runs]
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
            "limit": limit_section(diagnosis) if diagnosis else None,
            "resources": drawn.add(resource_charts(analysis)),
            "unavailable": unavailable(analysis),
            "regimes": regime_rows(analysis),
            "scalings": scaling_rows(analysis),
            "account": account(analysis),
            "facts": facts(analysis),
        }
        for name, analysis, diagnosis in all_runs
    ]
    several = len(analyses) > 1
    swept = [(section, drawn.add(section.charts)) for section in sweeps]
    tiers = []
    for searched in searches:
        sections = search_sections(searched.search, searched.name)
        for number, section in enumerate(sections, start=1):
            limit = searched.limit if number == len(sections) else None
            tiers.append((section, drawn.add(section.charts), limit))
    verdicts = [lead.headline for lead in leads] + [section.headline for section in sweeps]
    verdicts += [section.headline for section, _, _ in tiers]
    verdicts += [each.verdict.headline for each in analyses]
    return environment.get_template("page.html").render(
        title=verdicts[0],
        leads=leads,
        sweeps=swept,
        sweep_head=SWEEP_HEAD,
        tiers=tiers,
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
