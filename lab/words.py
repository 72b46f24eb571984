"""Sentences of a search, as it goes, and of a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from loadtest.analysis.analyse import Analysis
from loadtest.analysis.latency import QUANTILES, Latency
from loadtest.figures import milliseconds
from loadtest.report.tables import interval, littles_law_text, value
from loadtest.search.answer import Boundary
from loadtest.search.objectives import LATENCIES
from loadtest.search.probes import Breach, Observation, Probe, Purpose
from loadtest.search.tiers import TiersSearch

_WHY: Mapping[Purpose, str] = {
    "bracket": "to find a rate that passes and one that fails",
    "look above": "whether latency falls again at a higher rate",
    "look below": "whether a lower rate passes",
    "recheck": "as it contradicts another probe",
    "bisect": "between the highest that passes and the lowest that fails",
    "root": "where the fit puts the boundary",
    "confirm": "to confirm the answer, twice as long",
    "breach": "to show that more fails",
}


def announced(number: int, probe: Probe, warm_up_s: float, spent_s: float, budget_s: float) -> str:
    """Return what a probe will do, and why."""
    return (
        f"probe {number}: {probe.rate:,.6g}/s for {probe.seconds:.3g} s after {warm_up_s:g} s of warm-up, "
        f"{_WHY[probe.purpose]} (at most {max(0.0, budget_s - spent_s):,.0f} s of probes are left)"
    )


def outcome(observation: Observation) -> str:
    """Return what came of a probe for one tier."""
    messages = f"{observation.n:,} messages"
    if observation.first_breach is None:
        return f"passed ({messages})"
    return f"failed: {_breach(observation.first_breach)} ({messages})"


def _breach(breach: Breach) -> str:
    if breach.metric == "backlog_slope":
        return f"the backlog grows by {breach.observed:.2g} % of the rate"
    if breach.metric in LATENCIES:
        return f"{breach.metric} {breach.observed * 1e3:,.4g} ms, {breach.objective}"
    return f"{breach.metric} {breach.observed:,.4g}, {breach.objective}"


def answers(search: TiersSearch) -> Iterator[str]:
    """Yield a sentence for each tier: the highest rate that is confirmed, or why there is none."""
    for tier, boundary in zip(search.tiers, search.boundaries(), strict=True):
        yield f"{tier}: {_answer(boundary)}"


def _answer(boundary: Boundary) -> str:
    if boundary.claim is None:
        return f"no rate is confirmed: {boundary.convergence_reason or 'the search has not ended'}"
    text = f"{boundary.claim:,.6g} messages/s are sustained"
    if boundary.infeasible_min is not None and boundary.first_breach is not None:
        text += f"; {boundary.infeasible_min:,.6g}/s fails ({_breach(boundary.first_breach)})"
    if boundary.detectable_overload is not None:
        text += f"; an overload of {100 * boundary.detectable_overload:.2g} % or more would have been seen"
    if not boundary.converged:
        text += f"; not converged: {boundary.convergence_reason}"
    return text


def verdict_lines(analysis: Analysis) -> Iterator[str]:
    """Yield what a run shows: the verdict, the driver's part, the latency by both clocks, Little's law."""
    yield analysis.verdict.headline
    yield from analysis.verdict.sentences
    validity = analysis.validity
    if validity.valid and validity.schedule_error_ms is not None:
        yield (
            f"The driver kept the schedule: {100 * validity.achieved:.2f} % sent in its time, p99 of the "
            f"schedule error {milliseconds(validity.schedule_error_ms['p99'])} (at most "
            f"{validity.limit_ms:g} ms)."
        )
    for told, latency in (("due", analysis.corrected), ("sent", analysis.uncorrected)):
        if latency.n:
            yield f"Latency from when it was {told} ({latency.clock}): {_percentiles(latency)}."
    if analysis.littles_law is not None:
        yield f"Little's law {littles_law_text(analysis.littles_law)}."


def _percentiles(latency: Latency) -> str:
    parts = []
    for name in QUANTILES:
        figure = latency.figures[name]
        range_ms = interval(figure)
        parts.append(f"{name} {value(figure)}{f' (95 %: {range_ms})' if range_ms else ''}")
    return ", ".join(parts)


def amount(value: float, unit: Literal["1/s", "s"]) -> str:
    """Return a rate or a duration for people."""
    return f"{value:,.6g}/s" if unit == "1/s" else f"{value * 1e3:,.4g} ms"


def by_rate(seen: Sequence[tuple[Probe, Sequence[Observation]]]) -> dict[float, int]:
    """Return the number, from 1, of the latest probe of each rate."""
    return {probe.rate: number for number, (probe, _) in enumerate(seen, start=1)}
