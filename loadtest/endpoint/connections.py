"""The first call of all, and what a new connection costs against a kept one."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import numpy as np

from loadtest.endpoint.bodies import Body
from loadtest.endpoint.caller import Answer, Caller
from loadtest.interrupt import Stop
from loadtest.statistics.percentiles import quantile

# Calls on new and on kept connections, taking turns.
PAIRS = 20
_PAUSE_S = 0.1


class NotServedError(Exception):
    """The endpoint served no first call; the message says what it answered, and what to check."""


@dataclass(frozen=True)
class FirstCall:
    """The first call that was served.

    Attributes:
        ready_after_s: Seconds from the first attempt until it began: a container that starts, or a scale-up
            from no replica; 0 where the first attempt was served.
        attempts_before: Attempts that were refused or found nobody.
        first_ms: Of the call, its connection included.
        connect_ms: Of it the connection, TLS with it; NaN where an attempt before had opened it.
    """

    ready_after_s: float
    attempts_before: int
    first_ms: float
    connect_ms: float


@dataclass(frozen=True)
class ConnectionCost:
    """Medians of calls of the same size, one at a time.

    Attributes:
        pairs: Calls of each kind.
        kept_ms: On a kept connection.
        new_ms: On a new one, opening it included.
        connect_ms: Of that, opening it.
        failed: Calls that were not served, and are in no median.
    """

    pairs: int
    kept_ms: float
    new_ms: float
    connect_ms: float
    failed: int


async def first_call(caller: Caller, body: Body, *, ready_timeout: float, stop: Stop) -> FirstCall | None:
    """Call until a call is served, and return its times; None where `stop` was set before.

    Raises:
        NotServedError: The endpoint refuses such calls, or served none in time.
    """
    clock = caller.clock
    begun = clock()
    attempts = 0
    while not stop.is_set():
        started = clock()
        answer = await caller.call(body)
        if not answer.failure:
            ready_after = started - begun if attempts else 0.0
            return FirstCall(ready_after, attempts, (answer.ended_at - started) * 1e3, answer.connect_s * 1e3)
        if not answer.transient:
            raise NotServedError(f"a first call was not served: {answer.reason}")
        if clock() - begun >= ready_timeout:
            raise NotServedError(
                f"no call was served within {ready_timeout:g} s (--ready_timeout); at last: {answer.reason}"
            )
        attempts += 1
        await asyncio.sleep(max(_PAUSE_S, min(answer.retry_after_s, 5.0)))
    return None


async def connection_cost(caller: Caller, body: Body, *, pairs: int, stop: Stop) -> ConnectionCost | None:
    """Measure calls on new and kept connections in turn; None where none of a kind was served."""
    kept: list[float] = []
    new: list[float] = []
    connect: list[float] = []
    failed = 0
    for _ in range(pairs):
        if stop.is_set():
            break
        for fresh, times in ((False, kept), (True, new)):
            started = caller.clock()
            answer: Answer = await caller.call(body, fresh=fresh)
            if answer.failure:
                failed += 1
                continue
            times.append(answer.ended_at - started)
            if fresh:
                connect.append(answer.connect_s)
    if not kept or not new:
        return None
    kept_ms, new_ms, connect_ms = (quantile(np.array(times), 0.5) * 1e3 for times in (kept, new, connect))
    return ConnectionCost(min(len(kept), len(new)), kept_ms, new_ms, connect_ms, failed)
