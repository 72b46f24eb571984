"""Intervals by the jackknife over blocks of a series."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from loadtest.raw_log import Floats

# Of the samples of a run, in the order of time: neighbours are alike, and a block carries that.
BLOCKS = 10
# Student's t with BLOCKS - 1 degrees of freedom, two-sided 95 %.
STUDENT_T = 2.2622


def blocks_of(n: int) -> NDArray[np.int64]:
    """Return [n] the block of each sample of a run, 0 to `BLOCKS` - 1, in the order of time."""
    return np.arange(n) * BLOCKS // max(n, 1)


def interval(value: float, without: Sequence[float]) -> tuple[float, float] | None:
    """Return the 95 % interval of an estimate; None where it could not be made without each of the blocks.

    Efron and Tibshirani, An Introduction to the Bootstrap, 11: with m estimates, each without one block, the
    variance is (m - 1) / m times the sum of their squared deviations.

    Args:
        value: The estimate from all samples.
        without: [m] the estimate without each block.
    """
    m = len(without)
    if m < BLOCKS:
        return None
    spread = float(np.sum((np.array(without) - np.mean(without)) ** 2))
    half = STUDENT_T * math.sqrt((m - 1) / m * spread)
    return value - half, value + half


def ratio_of_sums(above: Floats, below: Floats) -> tuple[float, tuple[float, float] | None] | None:
    """Return sum(above) / sum(below) with its interval; None where the second is 0.

    Args:
        above: [n] in the order of time.
        below: [n].
    """
    if not below.sum():
        return None
    block = blocks_of(len(above))
    value = float(above.sum() / below.sum())
    without = [
        float(above[block != number].sum() / below[block != number].sum())
        for number in range(BLOCKS)
        if below[block != number].sum() and (block == number).any()
    ]
    return value, interval(value, without)
