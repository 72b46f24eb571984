"""A line that only rises, through noisy points, and where it crosses a level."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from loadtest.raw_log import Floats


@dataclass(frozen=True)
class Isotonic:
    """The nondecreasing fit of least squares.

    Attributes:
        x: [k] distinct places, rising.
        y: [k] the fit there, never falling.
        residuals: [n] each given value less the fit at its place, in the order that they were given.
    """

    x: Floats
    y: Floats
    residuals: Floats

    def at(self, x: float) -> float:
        """Return the fit at a place: linear between its points, constant beyond them."""
        return float(np.interp(x, self.x, self.y))

    def root(self, level: float = 0.0) -> float | None:
        """Return where the fit crosses a level, linear between points; None where it does not.

        Where the fit lies on the level over a stretch, the end of the stretch is returned.
        """
        above = np.flatnonzero(self.y > level)
        if not len(above) or above[0] == 0:
            return None
        right = int(above[0])
        left = right - 1
        share = (level - self.y[left]) / (self.y[right] - self.y[left])
        return float(self.x[left] + share * (self.x[right] - self.x[left]))


def fit(x: ArrayLike, y: ArrayLike, weights: ArrayLike | None = None) -> Isotonic:
    """Fit by pooling adjacent violators (Ayer et al., 1955; Barlow et al., 1972).

    Args:
        x: [n] places, in any order; values at the same place are averaged first.
        y: [n] values, finite.
        weights: [n] above 0; equal where not given.

    Raises:
        ValueError: There is no point.
    """
    places, values = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    loads = np.ones_like(values) if weights is None else np.asarray(weights, dtype=np.float64)
    if not len(places):
        raise ValueError("a fit through no points was asked for")
    distinct, place_of = np.unique(places, return_inverse=True)
    load = np.bincount(place_of, loads)
    mean = np.bincount(place_of, loads * values) / load
    blocks: list[tuple[float, float, int]] = []  # mean, weight, places
    for value, weight in zip(mean.tolist(), load.tolist(), strict=True):
        block = (value, weight, 1)
        while blocks and blocks[-1][0] >= block[0]:
            before = blocks.pop()
            total = before[1] + block[1]
            block = ((before[0] * before[1] + block[0] * block[1]) / total, total, before[2] + block[2])
        blocks.append(block)
    fitted = np.repeat([block[0] for block in blocks], [block[2] for block in blocks])
    return Isotonic(distinct, fitted, values - fitted[place_of])
