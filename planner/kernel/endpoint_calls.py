"""A process's calls of an endpoint in simulated time: the job's own limit, retries and throttle clock."""

from __future__ import annotations

import random as python_random
from collections import deque
from contextlib import AbstractContextManager
from typing import Any

from pipeline.inference.endpoint.limit import ConcurrencyLimit
from pipeline.inference.endpoint.responses import RetryError
from pipeline.inference.endpoint.retry_policy import RetryPolicy, RetryState
from pipeline.inference.endpoint.throttle import ThrottleClock
from pipeline.request.errors import TransientError
from planner.kernel.batcher import Start
from planner.kernel.events import Events, Station, Then
from planner.kernel.worker import EndpointCalls

_FULL = RetryError("429", congested=True)
# A bundle whose call was given up comes again; as this long after, where the service does not say.
_BUNDLE_AGAIN_S = 10.0


class _Call:
    """One call, through all its attempts."""

    __slots__ = ("bundle", "round", "rows", "state", "throttle", "waits")

    def __init__(self, rows: int, throttle: ThrottleClock, bundle: _Bundle, state: RetryState) -> None:
        self.rows = rows
        self.throttle = throttle
        self.bundle = bundle
        self.state = state
        self.round = 0
        self.waits: AbstractContextManager[None] | None = None


class _Bundle:
    """The calls of a bundle that are in flight together."""

    __slots__ = ("argument", "left", "then")

    def __init__(self, left: int, then: Then, argument: Any) -> None:
        self.left = left
        self.then = then
        self.argument = argument


class SimulatedClient:
    """`pipeline.inference.endpoint.client.EndpointClient` of one process, in simulated time.

    Its limit, pauses and throttle clock are those of the job; only what they wait for is simulated.
    """

    def __init__(
        self, events: Events, endpoint: Station, calls: EndpointCalls, start: Start, seed: int
    ) -> None:
        """Begin without a call.

        Args:
            events: Tell the time.
            endpoint: Serves the calls of all processes; its demand is how many are in service.
            calls: How they are made.
            start: Has the endpoint serve a call.
            seed: Of the pauses.
        """
        self._events = events
        self._endpoint = endpoint
        self._calls = calls
        self._start = start
        self._random = python_random.Random(seed)
        self._policy = RetryPolicy(calls.deadline_s, calls.deadline_s, 0.0)
        self._limit = ConcurrencyLimit(calls.max_concurrency)
        self._waiting: deque[_Call] = deque()

    def call(self, rows: int, throttle: ThrottleClock, then: Then, argument: Any) -> None:
        """Make the calls of so many rows, in even parts as the job does, then call `then`."""
        parts = -(-rows // self._calls.batch_size)
        bundle = _Bundle(parts, then, argument)
        for part in range(parts):
            size = rows * (part + 1) // parts - rows * part // parts
            self._try(_Call(size, throttle, bundle, self._new_state()))

    def _new_state(self) -> RetryState:
        return RetryState("the endpoint", self._policy, lambda: self._events.now)

    def _try(self, call: _Call) -> None:
        if self._waiting or not self._limit.free:
            # The endpoint is to blame for a wait for a slot only while the limit is lowered.
            if self._limit.lowered:
                _begin_wait(call)
            self._waiting.append(call)
        else:
            self._attempt(call)

    def _attempt(self, call: _Call) -> None:
        _end_wait(call)
        call.round = _acquire(self._limit)
        # 0 is how a state says that it has not begun.
        call.state.begin(self._events.now or 1e-9)
        full = self._calls.full_at
        if full is not None and self._endpoint.demand >= full:
            self._events.at(self._events.now + self._calls.refusal_s, self._refused, call)
        else:
            self._start(call.rows, self._served, call)

    def _served(self, call: _Call) -> None:
        self._limit.succeeded()
        self._release()
        call.bundle.left -= 1
        if not call.bundle.left:
            call.bundle.then(call.bundle.argument)

    def _refused(self, call: _Call) -> None:
        self._limit.congested(call.round)
        self._release()
        call.state.failed += 1
        try:
            pause_s = call.state.pause(_FULL, self._random)
        except TransientError:
            call.state = self._new_state()
            pause_s = _BUNDLE_AGAIN_S
        _begin_wait(call)
        self._events.at(self._events.now + pause_s, self._again, call)

    def _again(self, call: _Call) -> None:
        _end_wait(call)
        self._try(call)

    def _release(self) -> None:
        self._limit.release()
        while self._waiting and self._limit.free:
            self._attempt(self._waiting.popleft())


def _acquire(limit: ConcurrencyLimit) -> int:
    """Take a place that is free, which needs no event loop."""
    try:
        limit.acquire().send(None)
    except StopIteration as done:
        return int(done.value)
    raise AssertionError("a free place was waited for")


def _begin_wait(call: _Call) -> None:
    call.waits = call.throttle.measure()
    call.waits.__enter__()


def _end_wait(call: _Call) -> None:
    if call.waits is not None:
        call.waits.__exit__(None, None, None)
        call.waits = None
