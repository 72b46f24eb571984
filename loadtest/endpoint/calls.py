"""What became of each call of one load."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from loadtest.endpoint.caller import Answer
from loadtest.raw_log import Floats

UNSENT = "not sent"
GIVEN_UP = "given up"
_SERVED = ""


@dataclass(frozen=True)
class Calls:
    """Each call of a load, in the order that they were due. Times are epoch seconds, NaN for none.

    Attributes:
        rows: Instances in each call.
        intended: [n] when it was due; of a closed loop, when its caller was free for it.
        waited_s: [n] seconds that it waited for a connection: until one was free, and until a new one was
            open. Not the driver's time.
        sent_at: [n] when it was written to the socket.
        ended_at: [n] when its answer was whole, or when it had failed.
        connect_s: [n] seconds that its own new connection took; NaN where a kept one was used.
        server_ms: [n] milliseconds that the server says it took.
        retry_after_s: [n] seconds that a refusal asked to wait; 0 where none did.
        failures: [n] text; empty where the call was served. See `Answer.failure`; UNSENT where no connection
            was free in time, GIVEN_UP where the load ended before its answer.
        reasons: The first reason of each failure.
        start: When the load began.
        warmup: Seconds at its start that are in no figure.
        duration: Seconds that it lasted, warm-up included.
        ended: When its last answer was waited for.
        deadline_s: What a failed call's latency is at least.
        connections: Most calls in flight.
        cpu_s: Processor time of the driver's process meanwhile.
        partial: What ended it early; empty for a whole one.
    """

    rows: int
    intended: Floats
    waited_s: Floats
    sent_at: Floats
    ended_at: Floats
    connect_s: Floats
    server_ms: Floats
    retry_after_s: Floats
    failures: NDArray[np.str_]
    reasons: Mapping[str, str]
    start: float
    warmup: float
    duration: float
    ended: float
    deadline_s: float
    connections: int
    cpu_s: float
    partial: str = ""

    def __len__(self) -> int:
        return len(self.intended)

    @property
    def served(self) -> NDArray[np.bool_]:
        """[n] whether each call was served."""
        return self.failures == _SERVED

    @property
    def measured(self) -> NDArray[np.bool_]:
        """[n] whether each call was due after the warm-up."""
        return self.intended >= self.start + self.warmup

    @property
    def latency_s(self) -> Floats:
        """[n] seconds from the moment a call was due; at least the deadline where it was not served.

        So a refusal, which is often quick, is never a fast answer.
        """
        ended = np.where(np.isnan(self.ended_at), self.ended, self.ended_at)
        waited = ended - self.intended
        return np.where(self.served, waited, np.maximum(waited, self.deadline_s))

    @property
    def service_s(self) -> Floats:
        """[n] seconds from when a call was written to the socket; NaN where it was not served."""
        return np.where(self.served, self.ended_at - self.sent_at, np.nan)

    @property
    def schedule_error_s(self) -> Floats:
        """[n] seconds by which the driver itself was late; NaN for a call that it did not come to send."""
        return self.sent_at - self.intended - self.waited_s


class Recorder:
    """Takes the answers of a load while it lasts; numpy arrays, so that the garbage collector has no work."""

    def __init__(self, capacity: int, rows: int) -> None:
        self.rows = rows
        self.intended, self.waited_s, self.sent_at, self.ended_at, self.connect_s, self.server_ms = (
            np.full(capacity, np.nan) for _ in range(6)
        )
        self.waited_s[:] = 0.0
        self.retry_after_s = np.zeros(capacity)
        self._failed: dict[int, str] = {}
        self._reasons: dict[str, str] = {}
        self.served = 0

    @property
    def failed(self) -> int:
        """Calls that failed so far."""
        return len(self._failed)

    def put(self, number: int, answer: Answer) -> None:
        """Take what became of call `number`."""
        self.sent_at[number] = answer.sent_at
        self.ended_at[number] = answer.ended_at
        self.server_ms[number] = answer.server_ms
        self.retry_after_s[number] = answer.retry_after_s
        self.connect_s[number] = answer.connect_s
        if not math.isnan(answer.connect_s):
            self.waited_s[number] += answer.connect_s
        if answer.failure:
            self.fail(number, answer.failure, answer.reason)
        else:
            self.served += 1

    def fail(self, number: int, failure: str, reason: str) -> None:
        """Take a call that was not served."""
        self._failed[number] = failure
        self._reasons.setdefault(failure, reason)

    def calls(
        self,
        count: int,
        *,
        start: float,
        warmup: float,
        duration: float,
        ended: float,
        deadline_s: float,
        connections: int,
        cpu_s: float,
        partial: str = "",
    ) -> Calls:
        """Return the first `count` calls; one without an answer was given up."""
        failures = [self._failed.get(number, _SERVED) for number in range(count)]
        for number in np.flatnonzero(np.isnan(self.ended_at[:count])).tolist():
            if not failures[number]:
                failures[number] = GIVEN_UP
                self._reasons.setdefault(GIVEN_UP, "no answer when the load had ended")
        return Calls(
            rows=self.rows,
            intended=self.intended[:count].copy(),
            waited_s=self.waited_s[:count].copy(),
            sent_at=self.sent_at[:count].copy(),
            ended_at=self.ended_at[:count].copy(),
            connect_s=self.connect_s[:count].copy(),
            server_ms=self.server_ms[:count].copy(),
            retry_after_s=self.retry_after_s[:count].copy(),
            failures=np.array(failures, dtype=np.str_),
            reasons=dict(self._reasons),
            start=start,
            warmup=warmup,
            duration=duration,
            ended=ended,
            deadline_s=deadline_s,
            connections=connections,
            cpu_s=cpu_s,
            partial=partial,
        )


def by_failure(calls: Calls) -> dict[str, int]:
    """Return how many measured calls failed of each kind, the commonest first."""
    failed = calls.failures[calls.measured & ~calls.served]
    return dict(Counter(failed.tolist()).most_common())
