"""What happened in each second of a run."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from loadtest.analysis.timeline import Timeline
from loadtest.raw_log import Floats

# A longer run has longer intervals: a chart shows no more points, and a report stays small.
MAX_POINTS = 1800

DRAWN_QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}


@dataclass(frozen=True)
class PerSecond:
    """One value for each interval, from the schedule's zero to the last answer.

    Attributes:
        step_s: Length of an interval: 1 s unless the run is longer than `MAX_POINTS` seconds.
        start: [k] seconds since the schedule's zero at which each begins.
        offered: [k] messages due, 1/s; NaN after the schedule's end.
        achieved: [k] messages sent, 1/s; the same.
        answered: [k] first answers, 1/s.
        backlog: [k] messages sent and not answered at its end.
        latency_ms: By name, [k] corrected latency of the messages that were due in it; NaN where none was.
        stages_ms: By name, [k] mean time in each stage of the messages that were due in it.
        batch_size: [k] mean size of the batches that they were in.
    """

    step_s: float
    start: Floats
    offered: Floats
    achieved: Floats
    answered: Floats
    backlog: Floats
    latency_ms: dict[str, Floats]
    stages_ms: dict[str, Floats]
    batch_size: Floats


def per_second(messages: Timeline, stages_ms: dict[str, Floats], batch_size: Floats) -> PerSecond:
    """Return the series of a run.

    Args:
        messages: Of the run.
        stages_ms: By name, [n] time of each message in a stage, NaN where unknown.
        batch_size: [n] size of each message's batch, NaN where unknown.
    """
    last = max(messages.duration, float(np.nanmax(messages.answered_at, initial=0.0)))
    step = float(max(1, np.ceil(last / MAX_POINTS)))
    # What is left of less than half an interval belongs to the one before: a rate over it would be noise.
    count = max(1, int(last / step + 0.5))
    edges = np.arange(count + 1, dtype=np.float64) * step
    edges[-1] = max(edges[-1], last)
    due_in = np.clip((messages.intended // step).astype(np.int64), 0, count - 1)

    def rate(times: Floats, until: float) -> Floats:
        lengths = np.clip(until - edges[:-1], 0, np.diff(edges))
        counts = np.histogram(times[~np.isnan(times)], edges)[0]
        return np.divide(counts, lengths, out=np.full(count, np.nan), where=lengths > 0)

    def mean(values: Floats) -> Floats:
        known = ~np.isnan(values)
        sums = np.bincount(due_in[known], values[known], count)
        counts = np.bincount(due_in[known], minlength=count)
        return np.divide(sums, counts, out=np.full(count, np.nan), where=counts > 0)

    # An answer can come before the driver has noted that its message left.
    entered_at = np.where(np.isnan(messages.sent_at), messages.answered_at, messages.sent_at)
    entered = np.searchsorted(np.sort(entered_at), edges[1:], side="right")  # NaN sorts last
    left = np.searchsorted(np.sort(messages.answered_at), edges[1:], side="right")
    with np.errstate(divide="ignore"):
        batch = 1 / mean(
            1 / batch_size
        )  # a batch of b is reported b times: the harmonic mean is the batches'
    return PerSecond(
        step_s=step,
        start=edges[:-1],
        offered=rate(messages.intended, messages.duration),
        achieved=rate(messages.sent_at, messages.duration),
        answered=rate(messages.answered_at, last),
        backlog=(entered - left).astype(np.float64),
        latency_ms=_quantiles(messages.corrected * 1e3, due_in, count),
        stages_ms={name: mean(values) for name, values in stages_ms.items()},
        batch_size=batch,
    )


def _quantiles(values: Floats, group: NDArray[np.int64], count: int) -> dict[str, Floats]:
    """Return, by name, [count] percentiles and maximum of each group's values; NaN for an empty group."""
    ordered = values[np.lexsort((values, group))]
    sizes = np.bincount(group, minlength=count)
    full = sizes > 0
    first = (np.cumsum(sizes) - sizes)[full]
    found = {}
    for name, q in (DRAWN_QUANTILES | {"max": 1.0}).items():
        place = q * (sizes[full] - 1)
        below, share = np.floor(place).astype(np.int64), place % 1
        above = np.ceil(place).astype(np.int64)
        found[name] = np.full(count, np.nan)
        found[name][full] = ordered[first + below] * (1 - share) + ordered[first + above] * share
    return found
