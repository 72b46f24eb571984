"""A process's batcher in simulated time: the job's own rules, with events in place of its threads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf, nextafter
from typing import Any

from pipeline.batching.batch_queue import BatchQueue
from planner.kernel.events import Events, Then

Start = Callable[[int, Then, Any], None]
"""Starts a call of the model with so many rows; at its end, the second is called with the third."""


class Entry:
    """What waits for a batch.

    Attributes:
        size: Its rows.
        arrived: When it was queued, seconds.
        then: Called with `argument` once its batch is done.
    """

    __slots__ = ("argument", "arrived", "size", "then")

    def __init__(self, size: int, arrived: float, then: Then, argument: Any) -> None:
        self.size = size
        self.arrived = arrived
        self.then = then
        self.argument = argument


class SimulatedBatcher:
    """`pipeline.batching.batcher.Batcher`, and `serving.call_batcher.CallBatcher`, in simulated time.

    It asks the very `BatchQueue` that they ask, when they would ask it, so that job, container and planner
    form the same batches.
    """

    def __init__(
        self,
        events: Events,
        start: Start,
        max_batch_size: int,
        max_wait_s: float,
        concurrent_batches: int = 1,
    ) -> None:
        """Begin with all workers free.

        Args:
            events: Tell the time.
            start: Runs a batch.
            max_batch_size: As `BatchQueue` has it, like the next two.
            max_wait_s: Longest batch window.
            concurrent_batches: Worker threads.
        """
        self._events = events
        self._start = start
        self._queue: BatchQueue[Entry] = BatchQueue(max_batch_size, max_wait_s, concurrent_batches)
        self._free = concurrent_batches
        self._running = 0  # entries
        self._looks_at = inf

    def submit(self, size: int, then: Then, argument: Any) -> None:
        """Queue an entry now."""
        if self._queue.add(Entry(size, self._events.now, then, argument)) and self._free:
            self._look(None)

    def _look(self, _: None) -> None:
        """Take the batches that free workers may take now."""
        now = self._events.now
        if self._looks_at <= now:
            self._looks_at = inf
        while self._free:
            left_s = self._queue.wait_s(now)
            if left_s is None:
                return
            if left_s > 0:
                at = max(now + left_s, nextafter(now, inf))
                if at < self._looks_at:
                    self._looks_at = at
                    self._events.at(at, self._look)
                return
            batch = self._queue.take(self._running)
            self._free -= 1
            self._running += len(batch)
            self._start(sum(entry.size for entry in batch), self._end, batch)

    def _end(self, batch: Sequence[Entry]) -> None:
        self._queue.answered(len(batch), self._events.now)
        self._running -= len(batch)
        self._free += 1
        for entry in batch:
            entry.then(entry.argument)
        self._look(None)
