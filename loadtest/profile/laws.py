"""Laws a + b x size out of samples, with intervals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from loadtest.profile.profile import Law, Point, Quantity
from loadtest.raw_log import Floats
from loadtest.statistics.jackknife import BLOCKS, blocks_of, interval
from loadtest.statistics.percentiles import quantile

# Sizes nearer to each other than this are taken together.
_TOGETHER = 1.25
# Samples of a size: fewer say nothing of its median.
_LEAST = 5
# More samples of a size make its median no surer: jobs that were started one after the other differ by more
# than the noise within each.
_ENOUGH = 100
_QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}
# Student's t, two-sided 95 %, by degrees of freedom from 1 on; the last holds for more, too, a little wide.
_STUDENT_T = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)


def fit(size: Floats, ms: Floats, block: NDArray[np.int64]) -> Law | None:
    """Return the law through the medians of the sizes; None for fewer than two sizes.

    Least squares of the relative residuals, as noise grows with the time, each point with the weight of its
    samples, up to 100. Of two intervals the wider one counts: that of the jackknife over the blocks, which
    knows the noise within a run, and that of the points' scatter about the law, which knows what differs
    between runs, and a law that is no straight line.

    Args:
        size: [n] of each sample.
        ms: [n] milliseconds; a size whose median is not above 0 is left out, as no relative residual is.
        block: [n] from `blocks_of`, of each run.
    """
    points = points_of(size, ms)
    if len(points) < 2:
        return None
    a, b = _line(points)
    without = []
    for number in range(BLOCKS):
        left = block != number
        fewer = points_of(size[left], ms[left])
        if len(fewer) >= 2:
            without.append(_line(fewer))
    expected = a + b * size
    ratio = ms[expected > 0] / expected[expected > 0]
    shares = {"mean": float(ratio.mean())} | {name: quantile(ratio, q) for name, q in _QUANTILES.items()}
    return _law(a, b, without, shares, points, len(size))


def _scatter(points: Sequence[Point], a: float, b: float) -> tuple[float, float] | None:
    """Return half of the 95 % intervals of a and b, by the residuals; None for fewer than three points.

    Of weighted least squares with columns X and residuals r at k points, the covariance is
    r'r / (k - 2) (X'X)^-1.
    """
    if len(points) < 3:
        return None
    columns, weight = _columns(points)
    residuals = weight - columns @ np.array([a, b])
    free = len(points) - 2
    variance = float(residuals @ residuals) / free
    errors = np.sqrt(variance * np.diag(np.linalg.inv(columns.T @ columns)))
    t = _STUDENT_T[min(free, len(_STUDENT_T)) - 1]
    return t * float(errors[0]), t * float(errors[1])


def through(points: Sequence[Point]) -> Law | None:
    """Return the law through figures that have no samples of their own, so without intervals."""
    if len(points) < 2:
        return None
    a, b = _line(points)
    ratios = np.array([point.ms / (a + b * point.size) for point in points])
    shares = {"mean": float(ratios.mean())} | {name: quantile(ratios, q) for name, q in _QUANTILES.items()}
    return _law(a, b, [], shares, points, len(points))


def points_of(size: Floats, ms: Floats) -> list[Point]:
    """Return mean size and median time of each group of neighbouring sizes with samples enough."""
    order = np.argsort(size, kind="stable")
    size, ms = size[order], ms[order]
    points, first = [], 0
    while first < len(size):
        last = int(np.searchsorted(size, size[first] * _TOGETHER, side="right"))
        if last - first >= _LEAST and (middle := quantile(ms[first:last], 0.5)) > 0:
            points.append(Point(float(size[first:last].mean()), middle, last - first))
        first = last
    return points


def median(values: Floats, unit: str) -> Quantity:
    """Return the median of [n] values in the order of time, with the jackknife's interval."""
    block = blocks_of(len(values))
    without = [quantile(values[block != number], 0.5) for number in range(BLOCKS)] if len(values) > 1 else []
    return _quantity(quantile(values, 0.5), without, len(values), unit)


def _law(
    a: float,
    b: float,
    without: Sequence[tuple[float, float]],
    shares: dict[str, float],
    points: Sequence[Point],
    n: int,
) -> Law:
    residuals = [(point.ms - (a + b * point.size)) / point.ms for point in points]
    of_a, of_b = _scatter(points, a, b) or (0.0, 0.0)
    return Law(
        _quantity(a, [pair[0] for pair in without], n, least=of_a),
        _quantity(b, [pair[1] for pair in without], n, least=of_b),
        points[0].size,
        points[-1].size,
        max(residuals, key=abs),
        shares,
        list(points),
    )


def _line(points: Sequence[Point]) -> tuple[float, float]:
    columns, weight = _columns(points)
    (a, b), *_ = np.linalg.lstsq(columns, weight, rcond=None)
    return float(a), float(b)


def _columns(points: Sequence[Point]) -> tuple[Floats, Floats]:
    """Return [k, 2] what a and b are multiplied with, and [k] what it is to come to."""
    size, ms, n = (np.array([getattr(point, name) for point in points]) for name in ("size", "ms", "n"))
    weight = np.sqrt(np.minimum(n, _ENOUGH))  # the variance of a median falls with its samples
    return np.stack([weight / ms, weight * size / ms], axis=1), weight


def _quantity(
    value: float, without: Sequence[float], n: int, unit: str = "ms", *, least: float = 0.0
) -> Quantity:
    found = interval(value, without) if n >= 2 * BLOCKS else None
    if found is None:
        return Quantity(value, unit, None, None, n)
    return Quantity(value, unit, min(found[0], value - least), max(found[1], value + least), n)
