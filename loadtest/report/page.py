"""One HTML file with everything in it: it needs no network and opens from a disk."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from loadtest.analysis.analyse import Analysis
from loadtest.report.charts import charts, marks
from loadtest.report.comparison import compared, comparison_charts
from loadtest.report.embedding import NumberedCharts, embedded, templates
from loadtest.report.lead_section import LeadSection
from loadtest.report.limit_section import limit_section
from loadtest.report.resource_charts import resource_charts, unavailable
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
    drawn = NumberedCharts()
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
    return (
        templates()
        .get_template("page.html")
        .render(
            title=verdicts[0],
            leads=leads,
            sweeps=swept,
            sweep_head=SWEEP_HEAD,
            tiers=tiers,
            runs=runs,
            compared=compared(analyses, names) if several else None,
            compared_charts=drawn.add(comparison_charts(analyses, names)) if several else [],
            **embedded(drawn),
        )
    )


def _date(epoch_s: float) -> str:
    return datetime.fromtimestamp(epoch_s, UTC).strftime("%Y-%m-%d %H:%M UTC")
