"""A search for the highest sustainable rate: its answer, its path and its fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from loadtest.analysis.analyse import Analysis
from loadtest.figures import figure, milliseconds, rate
from loadtest.report.chart import Chart, Line, Mark
from loadtest.report.limit_section import LimitSection
from loadtest.report.tables import Shown
from loadtest.search.answer import Boundary
from loadtest.search.objectives import LATENCIES
from loadtest.search.probes import Breach, Observation, Probe
from loadtest.search.tiers import TiersSearch
from loadtest.statistics.isotonic import fit

_PASSED, _FAILED, _FIT = 3, 2, 0

Seen = Sequence[tuple[Probe, Observation]]


@dataclass(frozen=True)
class Searched:
    """A search, and what a page shows beside its own answer.

    Attributes:
        search: Ended or not.
        name: Sets it apart from others on the page; empty where it needs none.
        limit: What limits the system, of the probe that shows it best, in the place of each run's own.
        runs: The most telling of its probes, by their names for people.
    """

    search: TiersSearch
    name: str = ""
    limit: LimitSection | None = None
    runs: Mapping[str, Analysis] = field(default_factory=dict)


@dataclass(frozen=True)
class TierSection:
    """What is shown of the search of one tier.

    Attributes:
        name: Of the search; empty where it needs none.
        objectives: As they were written.
        outcome: found or not found.
        headline: The answer, in one sentence.
        sentences: What it rests on.
        figures: The boundary's.
        charts: The margins with their fit, and the path.
        rows: Number, purpose, rate, seconds, messages, margin and what failed, of each probe.
    """

    name: str
    objectives: str
    outcome: str
    headline: str
    sentences: tuple[str, ...]
    figures: list[Shown]
    charts: list[Chart]
    rows: list[tuple[str, ...]]


def search_sections(search: TiersSearch, name: str = "") -> list[TierSection]:
    """Return a section for each tier of a search; `name` sets it apart from others."""
    found = []
    for number, (tier, boundary) in enumerate(zip(search.tiers, search.boundaries(), strict=True)):
        seen = [(probe, observations[number]) for probe, observations in search.history if observations]
        found.append(
            TierSection(
                name=name,
                objectives=str(tier),
                outcome="found" if boundary.claim is not None else "not found",
                headline=_headline(str(tier), boundary),
                sentences=tuple(_sentences(boundary)),
                figures=_figures(boundary),
                charts=[_margins(seen, boundary), _path(seen)] if seen else [],
                rows=[_row(index, *each) for index, each in enumerate(seen, start=1)],
            )
        )
    return found


def _headline(tier: str, boundary: Boundary) -> str:
    if boundary.claim is None:
        return f"No rate is confirmed for {tier}."
    return f"The system sustains {rate(boundary.claim)} within {tier}."


def _sentences(boundary: Boundary) -> list[str]:
    found = []
    breach = boundary.first_breach
    if boundary.infeasible_min is not None and breach is not None:
        found.append(f"{rate(boundary.infeasible_min)} fails: {_told(breach)}.")
    if boundary.kind == "cliff" and boundary.ci is not None:
        low, high = (rate(end) for end in boundary.ci)
        found.append(
            f"The boundary is a cliff between {low} and {high}: the latency jumps, and no fit says where."
        )
    if boundary.convergence_reason:
        found.append(f"{boundary.convergence_reason[0].upper()}{boundary.convergence_reason[1:]}.")
    if boundary.non_monotone_warning:
        found.append(f"{boundary.non_monotone_warning[0].upper()}{boundary.non_monotone_warning[1:]}.")
    if not boundary.converged:
        found.append("The search has not done all of its steps.")
    return found


def _told(breach: Breach) -> str:
    if breach.metric == "backlog_slope":
        return f"the backlog grew by {breach.observed:.1f} % of the rate"
    in_ms = breach.metric in LATENCIES
    observed = milliseconds(breach.observed * 1e3) if in_ms else figure(breach.observed)
    return f"{breach.metric} {observed}, asked for {breach.objective}"


def _figures(boundary: Boundary) -> list[Shown]:
    overload = boundary.detectable_overload
    shown = "" if overload is None else f"an overload of {overload * 100:.1f} % would have shown"
    above = "" if boundary.claim is None or boundary.infeasible_min is None else "above the confirmed one"
    found = [
        Shown("confirmed rate", rate(boundary.claim), shown, "measured"),
        Shown("lowest failing rate", rate(boundary.infeasible_min), above, "measured"),
    ]
    if boundary.root is not None:
        interval = ""
        if boundary.kind == "smooth" and boundary.ci is not None:
            interval = f"the fits' spread: {figure(boundary.ci[0])} – {figure(boundary.ci[1])}"
        found.append(
            Shown("where the fit crosses the objective", rate(boundary.root), interval, "extrapolated")
        )
    found.append(
        Shown("probes", f"{boundary.probes:,}", f"{boundary.seconds:,.0f} s of measuring", "measured")
    )
    return found


def _margins(seen: Seen, boundary: Boundary) -> Chart:
    rates = np.array([probe.rate for probe, _ in seen])
    margins = np.array([observation.margin for _, observation in seen])
    passed = np.array([observation.passed for _, observation in seen])
    order = np.argsort(rates, kind="stable")
    line = fit(rates, margins, [probe.seconds for probe, _ in seen])
    lines = [
        Line("objective", np.zeros(len(rates)), 8, "dashed"),
        Line("fit (isotonic)", np.array([line.at(place) for place in rates[order]]), _FIT),
        Line("passed", np.where(passed, margins, np.nan)[order], _PASSED, "points"),
        Line("failed", np.where(passed, np.nan, margins)[order], _FAILED, "points"),
    ]
    marks = [] if boundary.claim is None else [Mark(boundary.claim, f"confirmed {rate(boundary.claim)}")]
    crossing = "" if boundary.root is None else f" The fit crosses 0 at {rate(boundary.root)}."
    text = (
        "Each probe's distance from the objectives: ln(figure / objective), 1 more where the backlog grew; "
        f"below 0 they are met.{crossing}"
    )
    return Chart(
        "Distance from the objectives by rate",
        text,
        "",
        "lines",
        "rate",
        rates[order],
        lines,
        marks=marks,
        place="rate",
    )


def _path(seen: Seen) -> Chart:
    rates = np.array([probe.rate for probe, _ in seen])
    passed = np.array([observation.passed for _, observation in seen])
    lines = [
        Line("path", rates, _FIT),
        Line("passed", np.where(passed, rates, np.nan), _PASSED, "points"),
        Line("failed", np.where(passed, np.nan, rates), _FAILED, "points"),
    ]
    labels = [f"{number}" for number in range(1, len(seen) + 1)]
    text = f"From {rate(rates[0])} to {rate(rates[-1])} in {len(seen)} probes."
    places = np.arange(len(seen), dtype=np.float64)
    return Chart(
        "Path of the search",
        text,
        "1/s",
        "lines",
        "labels",
        places,
        lines,
        logarithmic=True,
        labels=labels,
        place="probe",
    )


def _row(number: int, probe: Probe, observation: Observation) -> tuple[str, ...]:
    breach = observation.first_breach
    return (
        str(number),
        probe.purpose,
        rate(probe.rate),
        f"{probe.seconds:,.0f} s",
        f"{observation.n:,}",
        f"{observation.margin:+.3f}",
        "-" if breach is None else _told(breach),
    )
