"""Which messages make the next bundle, and when it is there to be taken."""

from __future__ import annotations

from bisect import bisect_right
from heapq import heapify, heappop, heappush
from math import ceil

import numpy as np
from numpy.typing import NDArray

from loadtest.raw_log import Floats
from planner.kernel.worker import Bundles


class BundleSource:
    """The messages of one worker, in order of arrival, as bundles.

    With keys, each key is a queue, and is in one bundle at a time; the key whose bundle has been ready for
    longest goes first. Without, there is one queue, and a bundle holds nothing back.

    Attributes:
        order: [n] which message stands where: `order[first:stop]` are the messages of a bundle.
    """

    def __init__(self, arrived: Floats, bundles: Bundles, random: np.random.Generator) -> None:
        """Spread the messages over the keys.

        Args:
            arrived: [n] seconds, ascending.
            bundles: How they form.
            random: Chooses each message's key.
        """
        n = len(arrived)
        self._locks = bundles.keys is not None
        keys = bundles.keys or 1
        self.order: NDArray[np.int64]
        if keys == 1:
            self.order, ends = np.arange(n), np.array([n])
        else:
            key = random.integers(0, keys, n)
            self.order = np.argsort(key, kind="stable")
            ends = np.cumsum(np.bincount(key, minlength=keys))
        # A memoryview gives Python's floats, which bisect compares several times as fast as numpy's.
        self._arrived = np.ascontiguousarray(arrived[self.order]).data
        self._most = bundles.max_messages
        self._gather_s = bundles.gather_s
        # Keys are not looked at all at once.
        self._offset = random.uniform(0.0, 1.0, keys).tolist() if keys > 1 else [0.0]
        self._end = ends.tolist()
        self._next = [0, *self._end[:-1]]
        self._ready = [(self._ready_at(key), key) for key in range(keys) if self._next[key] < self._end[key]]
        heapify(self._ready)

    def ready_at(self) -> float | None:
        """Return when the next bundle can be taken, seconds; None while none will be."""
        return self._ready[0][0] if self._ready else None

    def take(self, now: float) -> tuple[int, int, int]:
        """Return key, first and stop of a bundle that is ready now."""
        _, key = heappop(self._ready)
        first = self._next[key]
        until = self._ready_at(key) if self._gather_s else now
        stop = bisect_right(self._arrived, until, first, min(first + self._most, self._end[key]))
        self._next[key] = stop
        if not self._locks:
            self._release(key)
        return key, first, stop

    def done(self, key: int) -> None:
        """Take note that a key's bundle is done."""
        if self._locks:
            self._release(key)

    def _release(self, key: int) -> None:
        """Have the next bundle of a key taken."""
        if self._next[key] < self._end[key]:
            heappush(self._ready, (self._ready_at(key), key))

    def _ready_at(self, key: int) -> float:
        arrived = self._arrived[self._next[key]]
        if not self._gather_s:
            return arrived
        begun = self._offset[key] * self._gather_s
        looked_at = begun + ceil((arrived - begun) / self._gather_s) * self._gather_s
        return max(arrived, looked_at)  # which is before it where that was rounded down
