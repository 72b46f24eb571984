"""Searches of one job with other flags, side by side: which sustains the most, how soon, at what cost."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from loadtest.figures import figure, milliseconds, rate
from loadtest.report.chart import Chart, Line, Mark
from loadtest.search.outcome import Outcome, pareto
from loadtest.search.sweep_file import Sweep

_IN_SET, _OTHER = 3, 0

HEAD = (
    "flags", "sustained", "lowest failing", "where the fit crosses", "p99", "its 95 % interval",
    "processor time", "batch size", "probes", "Pareto set",
)  # fmt: skip


@dataclass(frozen=True)
class SweepSection:
    """What is shown of such a comparison.

    Attributes:
        kicker: What was compared.
        outcome: found or not found.
        headline: Which sustains the most, in one sentence.
        sentences: The Pareto set, and what came to no end.
        rows: A cell for each of `HEAD`, of each combination.
        charts: p99 by sustained rate, where any is.
    """

    kicker: str
    outcome: str
    headline: str
    sentences: tuple[str, ...]
    rows: list[tuple[str, ...]]
    charts: list[Chart]


def section_of(sweep: Sweep) -> SweepSection:
    """Return what is shown of a sweep, ended or not."""
    kicker = f"sweep of {' and '.join(sweep.values)}"
    asked = math.prod(len(values) for values in sweep.values.values())
    missing = asked - len(sweep.outcomes)
    told = [f"Searched so far: {asked - missing} of {asked} combinations."] if missing else []
    return sweep_section(sweep.outcomes, str(sweep.tier), kicker, told)


def sweep_section(outcomes: Sequence[Outcome], tier: str, kicker: str, told: Sequence[str]) -> SweepSection:
    """Return what is shown.

    Args:
        outcomes: To be compared.
        tier: The objectives.
        kicker: What was compared.
        told: Sentences that come first.
    """
    in_set = pareto(outcomes)
    return SweepSection(
        kicker=kicker,
        outcome="found" if any(in_set) else "not found",
        headline=headline(outcomes, tier),
        sentences=(*told, *sentences(outcomes)),
        rows=[_row(*each) for each in zip(outcomes, in_set, strict=True)],
        charts=[_rate_by_p99(outcomes, in_set)]
        if any(each.boundary.claim is not None and each.p99_ms is not None for each in outcomes)
        else [],
    )


def headline(outcomes: Sequence[Outcome], tier: str) -> str:
    """Return which of them sustains the most."""
    best = max(outcomes, key=lambda each: each.boundary.claim or 0.0, default=None)
    if best is None or best.boundary.claim is None:
        return f"No rate is confirmed for {tier}, whatever the flags."
    return f"{best.name} sustains the most: {rate(best.boundary.claim)} within {tier}."


def sentences(outcomes: Sequence[Outcome]) -> Iterator[str]:
    """Yield the Pareto set, and what is to be known of each that is not an answer."""
    chosen = [each.name for each, in_set in zip(outcomes, pareto(outcomes), strict=True) if in_set]
    if chosen:
        verb = "is all of" if len(chosen) == 1 else "make up"
        yield f"{'; '.join(chosen)} {verb} the Pareto set of rate, p99 and processor time."
    for each in outcomes:
        if each.ended:
            yield f"{each.name}: {each.ended}"
        elif not each.complete and each.boundary.convergence_reason:
            yield f"{each.name}: {each.boundary.convergence_reason}"


def state(outcome: Outcome) -> str:
    """Return the rate that is sustained, or why there is none, in a word or two."""
    if outcome.boundary.claim is not None:
        return rate(outcome.boundary.claim)
    return "ended early" if outcome.ended else "none"


def _row(outcome: Outcome, in_set: bool) -> tuple[str, ...]:
    boundary = outcome.boundary
    ci, interval = boundary.ci, outcome.p99_interval_ms
    return (
        outcome.name,
        state(outcome),
        rate(boundary.infeasible_min),
        "-" if ci is None else f"{figure(ci[0])} – {figure(ci[1])}",
        milliseconds(outcome.p99_ms),
        "-" if interval is None else f"{figure(interval[0])} – {figure(interval[1])}",
        "-" if outcome.cpu_us is None else f"{figure(outcome.cpu_us)} µs",
        figure(outcome.batch_size),
        f"{boundary.probes:,}",
        "yes" if in_set else "",
    )


def _rate_by_p99(outcomes: Sequence[Outcome], in_set: Sequence[bool]) -> Chart:
    known = sorted(
        (
            (each.boundary.claim, each, chosen)
            for each, chosen in zip(outcomes, in_set, strict=True)
            if each.boundary.claim is not None and each.p99_ms is not None
        ),
        key=lambda one: one[0],
    )
    rates = np.array([claim for claim, _, _ in known])
    lines = []
    for place, (_, each, chosen) in enumerate(known):
        values = np.full(len(known), np.nan)
        values[place] = each.p99_ms
        lines.append(Line(each.name, values, _IN_SET if chosen else _OTHER, "points"))
    marks = [Mark(claim, each.name) for claim, each, chosen in known if chosen]
    text = (
        "Each combination at the rate that it sustains, from when each message was due. Dashed lines and "
        "coloured points: the Pareto set."
    )
    return Chart(
        "p99 by sustained rate", text, "ms", "lines", "rate", rates, lines, marks=marks, place="rate"
    )
