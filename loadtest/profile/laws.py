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
_QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}


def fit(size: Floats, ms: Floats, block: NDArray[np.int64]) -> Law | None:
    """Return the law through the medians of the sizes; None for fewer than two sizes.

    Least squares of the relative residuals, as noise grows with the time, each point with the weight of its
    samples. The intervals are by the jackknife over the blocks.

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
    return Law(
        _quantity(a, [pair[0] for pair in without], n),
        _quantity(b, [pair[1] for pair in without], n),
        points[0].size,
        points[-1].size,
        max(residuals, key=abs),
        shares,
        list(points),
    )


def _line(points: Sequence[Point]) -> tuple[float, float]:
    size, ms, n = (np.array([getattr(point, name) for point in points]) for name in ("size", "ms", "n"))
    weight = np.sqrt(n)  # the variance of a median falls with its samples
    columns = np.stack([weight / ms, weight * size / ms], axis=1)
    (a, b), *_ = np.linalg.lstsq(columns, weight, rcond=None)
    return float(a), float(b)


def _quantity(value: float, without: Sequence[float], n: int, unit: str = "ms") -> Quantity:
    found = interval(value, without) if n >= 2 * BLOCKS else None
    low, high = (None, None) if found is None else found
    return Quantity(value, unit, low, high, n)
