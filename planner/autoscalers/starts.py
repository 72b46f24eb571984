"""Workers or replicas that were asked for and are not there yet."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_STANDARD_NORMAL = NormalDist()


class Starts:
    """Those that have been asked for, by the step in which each is ready."""

    def __init__(self, steps: int, draws: int) -> None:
        """Begin with none.

        Args:
            steps: Time steps of the run; what would be ready later stays pending to its end.
            draws: Monte-Carlo draws.
        """
        self.pending = np.zeros(draws)
        """[draws] asked for and not ready."""
        self._ready = np.zeros((steps, draws), dtype=np.float32)
        self._beyond = np.zeros(draws)

    def ask(self, step: int, draw: int, delays: Floats) -> None:
        """Ask for some more, one for each of [n] delays in steps from now; none is ready at once."""
        self.pending[draw] += len(delays)
        when = step + np.maximum(np.rint(delays).astype(np.int64), 1)
        within = when < len(self._ready)
        np.add.at(self._ready[:, draw], when[within], 1)
        self._beyond[draw] += np.count_nonzero(~within)

    def cancel(self, step: int, draw: int, keep: float) -> None:
        """Keep the first `keep` of those that are pending after a step, and forget the rest."""
        later = self._ready[step + 1 :, draw]
        due = np.cumsum(later)
        kept = np.minimum(due, keep)
        self._ready[step + 1 :, draw] = np.diff(kept, prepend=0)
        within = float(kept[-1]) if len(kept) else 0.0
        self._beyond[draw] = min(self._beyond[draw], max(keep - within, 0.0))
        self.pending[draw] = within + self._beyond[draw]

    def take(self, step: int) -> Floats:
        """Return how many become ready in a step, [draws]; they are pending no longer."""
        ready = self._ready[step].astype(np.float64)
        self.pending -= ready
        return ready


def start_delays(count: int, median: float, spread: float) -> Floats:
    """Return the delays of several that start together, [count], ascending, in the unit of the median.

    They are the middles of equal parts of a lognormal distribution, so that the same draw gives the same
    delays, whatever else was started before.

    Args:
        count: How many.
        median: Of their delays.
        spread: Standard deviation of the delay's logarithm.
    """
    parts = (np.arange(count) + 0.5) / count
    normal = np.array([_STANDARD_NORMAL.inv_cdf(part) for part in parts])
    return np.asarray(median * np.exp(spread * normal))
