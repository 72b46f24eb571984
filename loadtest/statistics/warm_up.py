"""Where a run's warm-up ends."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from loadtest.raw_log import Floats


@dataclass(frozen=True)
class Cut:
    """Where the warm-up ends.

    Attributes:
        index: Values of the series to leave out at its start.
        steady: False where the best cut is the latest one allowed, the middle, or the one before it: the
            series has no steady part yet, and the run needs to be longer.
    """

    index: int
    steady: bool


def mser5(series: Floats, group: int = 5) -> Cut:
    """Return the cut by MSER-5 (White, 1997; White, Cobb and Spratt, 2000).

    With y the means of groups of five values and m of them, the cut d minimises
    sum((y[d:] - mean(y[d:]))^2) / (m - d)^2 over d <= m/2: the squared standard error of what is left.

    Args:
        series: [n], finite. What does not fill a last group is not looked at.
        group: Values in a group.
    """
    groups = len(series) // group
    if groups < 4:
        return Cut(0, steady=False)
    means = series[: groups * group].reshape(groups, group).mean(axis=1)
    left = [means[cut:] for cut in range(groups // 2 + 1)]
    errors = np.array([float(np.var(part)) / len(part) for part in left])
    # The earliest of equals: where a series is constant, rounding would choose.
    cut = int(np.flatnonzero(errors <= errors.min() + 1e-12 * errors[0])[0])
    # The one before, too: the backlog of 300 s that drained to their end was cut at 145 s in 32 of 40 queues.
    return Cut(cut * group, steady=cut < groups // 2 - 1)


def cut_seconds(p50: Floats, rate: Floats, backlog: Floats, floor_s: int) -> Cut:
    """Return how many seconds to leave out: the largest MSER-5 cut of three series, at least a floor.

    Args:
        p50: [n] median latency of each second, NaN where nothing was answered.
        rate: [n] answers in each second.
        backlog: [n] messages not answered at the end of each second.
        floor_s: Seconds that are left out in any case: 10 on one machine, 60 in the cloud.
    """
    cuts = [mser5(_filled(series)) for series in (p50, rate, backlog)]
    return Cut(max(floor_s, *(cut.index for cut in cuts)), steady=all(cut.steady for cut in cuts))


def _filled(series: Floats) -> Floats:
    """Return the series with each NaN replaced by the value before it; by the highest at the start."""
    known = ~np.isnan(series)
    if not known.any():
        return np.zeros_like(series)
    last = np.maximum.accumulate(np.where(known, np.arange(len(series)), -1))
    return np.where(last < 0, np.nanmax(series), series[np.maximum(last, 0)])
