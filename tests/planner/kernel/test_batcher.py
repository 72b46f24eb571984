"""The batcher in simulated time: who is in which batch, and when it starts."""

from __future__ import annotations

from typing import Any

from planner.kernel.batcher import SimulatedBatcher
from planner.kernel.events import Events, Then


class Batches:
    """Batches that end when they are told to."""

    def __init__(self, max_wait_s: float, concurrent: int) -> None:
        self.events = Events()
        self.started: list[tuple[float, int]] = []
        self._ends: list[tuple[Then, Any]] = []
        self.batcher = SimulatedBatcher(self.events, self._start, 100, max_wait_s, concurrent)

    def submit(self, *times: float) -> None:
        for time in times:
            self.events.at(time, lambda _: self.batcher.submit(1, lambda _: None, None))

    def end(self, time: float) -> None:
        def end_first(_: None) -> None:
            then, argument = self._ends.pop(0)
            then(argument)

        self.events.at(time, end_first)

    def _start(self, rows: int, then: Then, argument: Any) -> None:
        self.started.append((self.events.now, rows))
        self._ends.append((then, argument))


def test_what_waits_goes_together() -> None:
    batches = Batches(0.0, 1)
    batches.submit(0.0, 0.1, 0.2, 0.3)
    batches.end(1.0)
    batches.events.run()
    assert batches.started == [(0.0, 1), (1.0, 3)]


def test_workers_share_what_waits_and_what_runs() -> None:
    batches = Batches(0.0, 2)
    batches.submit(0.0, 0.1, 0.2, 0.3, 0.4, 0.5)
    batches.end(1.0)
    batches.events.run()
    # Four wait and one runs: half of five, rounded up.
    assert batches.started == [(0.0, 1), (0.1, 1), (1.0, 3)]


def test_senders_that_were_answered_are_waited_for_no_longer_than_the_window() -> None:
    batches = Batches(0.5, 1)
    batches.submit(0.0, 0.1, 0.2)
    batches.end(1.0)
    batches.events.run()
    assert batches.started == [(0.0, 1), (1.5, 2)]


def test_a_batch_starts_once_they_are_back() -> None:
    batches = Batches(0.5, 1)
    batches.submit(0.0, 0.1, 1.25)
    batches.end(1.0)
    batches.events.run()
    assert batches.started == [(0.0, 1), (1.25, 2)]
