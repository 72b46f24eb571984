"""When a run's regime changes, as at a scaling event."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from loadtest.raw_log import Floats

# Seconds of a regime before others are compared with its mean.
_LEAST = 10


def cusum(growth: Floats, k: float = 0.5, h: float = 5.0) -> list[int]:
    """Return the seconds at which the growth of the backlog changes, by a two-sided CUSUM (Page, 1954).

    Each value is compared with the mean of its regime so far (self-starting: Hawkins, 1987). What it lies
    above (or below) that mean by more than k standard deviations is summed; where a sum passes h, the regime
    has changed. The change is put where it splits what came until then into the two most different means
    (the likelihood's maximum), and the next regime starts there. Pure noise raises an alarm each 465
    values on
    average, a stable queue hardly ever, as its growth makes up for itself: 1 in 100 runs of 300 s at 0.95
    load.

    Args:
        growth: [n] growth of the backlog in each second.
        k: Allowance, in standard deviations.
        h: Limit, in standard deviations.
    """
    sd = _noise(growth)
    changes: list[int] = []
    start = 0
    while sd and (alarm := _alarm(growth[start:] / sd, k, h)) is not None:
        start += _split(growth[start : start + alarm + 1])
        if changes and start - changes[-1] < _LEAST:
            changes.pop()  # one change that took more than a second
        changes.append(start)
    return changes


def windows(start: float, end: float, changes: Sequence[float]) -> list[tuple[float, float]]:
    """Return the windows from start to end, split at each change between: none crosses one."""
    edges = [start, *sorted({change for change in changes if start < change < end}), end]
    return list(pairwise(edges))


def _noise(growth: Floats) -> float:
    """Return the standard deviation within a regime: of neighbours' differences, which few changes touch.

    The root mean square, not a median: an overloaded queue's growth is noisy, an idle one's almost still, and
    a median that falls among the still seconds called the noise of the others changes.
    """
    differences = np.diff(growth)
    return math.sqrt(float(np.mean(differences**2)) / 2) if len(differences) else 0.0


def _alarm(scores: Floats, k: float, h: float) -> int | None:
    """Return the index at which a sum of a series in standard deviations passes h, or None."""
    up = down = 0.0
    for index in range(_LEAST, len(scores)):
        # The mean so far is uncertain itself; the factor keeps the score's variance at 1.
        score = float(scores[index] - scores[:index].mean()) * math.sqrt(index / (index + 1))
        up, down = max(0.0, up + score - k), max(0.0, down - score - k)
        if max(up, down) > h:
            return index
    return None


def _split(values: Floats) -> int:
    """Return the index, at least 1, at which two parts of [n] values differ most for their lengths."""
    n = len(values)
    before = np.arange(1, n)
    apart = np.cumsum(values)[:-1] - before * values.mean()
    return int(np.argmax(np.abs(apart) / np.sqrt(before * (n - before)))) + 1
