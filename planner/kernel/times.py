"""Times of single calls, drawn about their law."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from planner.kernel.worker import CallTime

_BLOCK = 4096  # draws at once: one by one they would take longer than the rest of an event


class CallTimes:
    """Draws the time of each call of one law."""

    def __init__(self, time: CallTime, random: np.random.Generator) -> None:
        self._fixed_s = time.fixed_s
        self._each_s = time.each_s
        self._factors = _factors(time.variation, random)

    def seconds(self, rows: int) -> float:
        """Return the time of a call with so many rows."""
        return (self._fixed_s + self._each_s * rows) * next(self._factors)


def _factors(variation: float, random: np.random.Generator) -> Iterator[float]:
    """Yield factors of mean 1: gamma distributed with shape 1 / variation^2, which is exponential at 1."""
    if variation == 0:
        while True:
            yield 1.0
    shape = variation**-2
    while True:
        yield from random.gamma(shape, 1 / shape, _BLOCK).tolist()
