"""Coordinated omission: a system that stands still counts for every message that was due meanwhile."""

from __future__ import annotations

import heapq

import grpc
import numpy as np

from loadtest.driver.pacer import Pacer, Share
from loadtest.driver.publisher import Ended, Written
from loadtest.driver.sender_state import Count, Order, SharedStates, shared_file
from pipeline.pubsub.protos import PublishRequest

RATE, SECONDS = 200, 60
STALL = (20.0, 22.0)
SERVICE_S = 0.001


class StallingSystem:
    """A `Publisher` with a clock of its own: it takes nothing in the stall, and answers 1 ms after it took.

    Attributes:
        now: Seconds.
        answered_at: By message.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self.answered_at = np.full(RATE * SECONDS, np.nan)
        self._events: list[tuple[float, int, Written | Ended]] = []

    def send(self, call: int, request: bytes) -> None:
        taken_at = STALL[1] if STALL[0] <= self.now < STALL[1] else self.now
        answered_at = taken_at + SERVICE_S
        for message in PublishRequest.FromString(request).messages:
            self.answered_at[int(message.attributes["request_id"].split("-")[1])] = answered_at
        heapq.heappush(self._events, (taken_at, 2 * call, Written(call, taken_at)))
        ended = Ended(call, grpc.StatusCode.OK, "OK")
        heapq.heappush(self._events, (answered_at, 2 * call + 1, ended))

    def cancel(self, call: int) -> None:
        raise AssertionError("2 s are no reason to give a call up")

    def wait(self, seconds: float) -> list[Written | Ended]:
        until = self.now + max(seconds, 0)
        if self._events:
            until = min(until, max(self.now, self._events[0][0]))
        self.now = until
        happened = []
        while self._events and self._events[0][0] <= self.now:
            happened.append(heapq.heappop(self._events)[2])
        return happened

    def close(self) -> None:
        pass


def test_a_stall_counts_for_all_that_was_due_in_it() -> None:
    """Of 60 s, 0.6 s are 1 %: the p99 of a stall of 2 s is what was due 0.6 s into it, which waits 1.4 s."""
    system = StallingSystem()
    with shared_file(RATE * SECONDS, 1) as memory:
        (state,) = SharedStates.make(memory.fileno(), RATE * SECONDS, 1).senders
    state.intended[:] = np.arange(RATE * SECONDS) / RATE
    state.give(Order.SEND)
    share = Share("projects/project/topics/requests", "cafe", [b"{}"])
    Pacer(system, share, state, lambda: system.now).run()
    assert state.counts[Count.PUBLISHED] == RATE * SECONDS
    # The schedule went on during the stall: handed over when due, and written only once that was possible.
    in_stall = (state.intended >= STALL[0]) & (state.intended < STALL[1])
    assert in_stall.sum() == 2 * RATE
    np.testing.assert_array_equal(state.sent_at[in_stall], STALL[1])
    corrected, uncorrected = system.answered_at - state.intended, system.answered_at - state.sent_at
    assert abs(np.percentile(corrected, 99) - 1.4) < 0.14
    assert np.percentile(uncorrected, 99) < 2 * SERVICE_S
    np.testing.assert_allclose(state.sent_at[~in_stall], state.intended[~in_stall], rtol=0, atol=0.0006)
