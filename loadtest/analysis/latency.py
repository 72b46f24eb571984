"""Percentiles of the latency, each with its interval, its effective sample size and its guard."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from loadtest.analysis.figure import Figure
from loadtest.analysis.timeline import Bools, Timeline
from loadtest.raw_log import Floats
from loadtest.statistics.percentiles import effective_n, guard, interval, least_samples, quantile

QUANTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p99.9": 0.999}

# Of a distribution that is drawn: as many as a chart shows apart, closer together towards the tail.
_DRAWN = 1 - np.geomspace(1, 1e-3, 61)


@dataclass(frozen=True)
class Latency:
    """How late the answers were, by one clock.

    Attributes:
        clock: corrected: from when a message was due. uncorrected: from when it was sent, which leaves out
            whatever held the driver back.
        n: Messages.
        missing: Of them without an answer.
        figures: mean, the percentiles and max, milliseconds.
        distribution: Quantiles and their milliseconds, as far as the samples reach.
    """

    clock: Literal["corrected", "uncorrected"]
    n: int
    missing: int
    figures: dict[str, Figure]
    distribution: tuple[tuple[float, float], ...]


def corrected(messages: Timeline, window: Bools) -> Latency:
    """Return the latency from when each message was due.

    Args:
        messages: Of the run.
        window: [n] those that count.
    """
    return _latency("corrected", messages.corrected[window] * 1e3, messages.missing[window])


def uncorrected(messages: Timeline, window: Bools) -> Latency:
    """Return the latency from when each message was sent. See `corrected`."""
    chosen = window & ~np.isnan(messages.uncorrected)
    return _latency("uncorrected", messages.uncorrected[chosen] * 1e3, messages.missing[chosen])


def percentile(name: str, values: Floats, lowest_missing: float = np.inf) -> Figure:
    """Return one percentile.

    Args:
        name: Of `QUANTILES`.
        values: [n] in the order of time, milliseconds.
        lowest_missing: The shortest wait among the values that belong to a message without an answer.
    """
    q, n = QUANTILES[name], len(values)
    if not n:
        return Figure(name, None, "ms", n=0, note="no message")
    verdict, independent = guard(n, q), effective_n(values)
    if verdict == "refused":
        note = f"needs {least_samples(q):,} samples, there are {n:,}"
        return Figure(name, None, "ms", n=n, effective_n=independent, guard=verdict, note=note)
    bounds = interval(values, q)
    value = quantile(values, q)
    return Figure(
        name,
        value,
        "ms",
        low=bounds.low if bounds else None,
        high=bounds.high if bounds else None,
        standard_error=bounds.standard_error if bounds else None,
        n=n,
        effective_n=independent,
        guard=verdict,
        at_least=value >= lowest_missing,
        note=f"{n:,} samples give a hint, no more" if verdict == "diagnostic" else "",
    )


def _latency(clock: Literal["corrected", "uncorrected"], values: Floats, missing: Bools) -> Latency:
    n, lowest_missing = len(values), float(values[missing].min(initial=np.inf))
    any_missing = bool(missing.any())
    figures = {
        "mean": Figure("mean", float(values.mean()) if n else None, "ms", n=n, at_least=any_missing),
        **{name: percentile(name, values, lowest_missing) for name in QUANTILES},
        "max": Figure("max", float(values.max()) if n else None, "ms", n=n, at_least=any_missing),
    }
    drawn = [q for q in _DRAWN.tolist() if n and guard(n, q) != "refused"]
    heights = np.quantile(values, drawn).tolist() if drawn else []
    return Latency(clock, n, int(missing.sum()), figures, tuple(zip(drawn, heights, strict=True)))
