"""Loads over real connections, to servers of known behaviour."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from typing import cast

import numpy as np
import pytest

from loadtest.clock import epoch_clock
from loadtest.endpoint.bodies import Body
from loadtest.endpoint.caller import Answer, Caller
from loadtest.endpoint.calls import Calls, Recorder, by_failure
from loadtest.endpoint.loops import OpenLoop, closed_loop, unwatched
from loadtest.interrupt import Stop
from tests.loadtest.endpoint.conftest import bodies, call, evenly
from tests.loadtest.endpoint.server import KnownEndpoint
from tests.waiting import LIMIT_S, wait_until


def send(
    url: str,
    count: int,
    *,
    gap_s: float = 0.001,
    connections: int = 64,
    timeout_s: float = LIMIT_S,
    deadline_s: float = LIMIT_S,
    drain_s: float = LIMIT_S,
    stop: Stop | None = None,
    watch: object = unwatched,
) -> Calls:
    offsets = evenly(count, gap_s)
    return call(
        url,
        lambda caller: OpenLoop(caller, bodies(), offsets, connections).run(
            duration=count * gap_s,
            warmup=0.0,
            deadline_s=deadline_s,
            drain_s=drain_s,
            stop=stop or Stop(),
            watch=watch,  # type: ignore[arg-type]
        ),
        timeout_s,
    )


def test_each_call_is_sent_and_served_once(endpoint: KnownEndpoint) -> None:
    calls = send(endpoint.url, 50)
    assert len(endpoint.rows) == 50
    assert calls.served.all()
    assert (calls.sent_at >= calls.intended).all()
    assert (calls.ended_at > calls.sent_at).all()
    assert np.diff(calls.intended) == pytest.approx(0.001, abs=1e-6)
    assert (calls.server_ms == 1.5).all()
    assert calls.partial == ""
    assert calls.duration == pytest.approx(0.05)


def test_no_answer_is_waited_for(endpoint: KnownEndpoint) -> None:
    """All are sent while the first one still has no answer."""
    endpoint.open.clear()

    def release() -> None:
        wait_until(lambda: endpoint.in_flight == 20)
        endpoint.open.set()

    releasing = threading.Thread(target=release)
    releasing.start()
    calls = send(endpoint.url, 20)
    releasing.join()
    assert calls.served.all()
    assert calls.sent_at.max() < calls.ended_at.min()


class Immediate:
    """As much of a caller as a load takes; it answers within the very step of the loop, or fails."""

    def __init__(self, error: Exception | None = None) -> None:
        self.clock = epoch_clock()
        self.called: list[bytes] = []
        self._error = error

    async def call(self, body: Body) -> Answer:
        self.called.append(body.data)
        if self._error is not None:
            raise self._error
        now = self.clock()
        return Answer("", "", False, now, now, math.nan, math.nan, 0.0)

    async def forget_connections(self) -> None:
        pass


def at_once(caller: Immediate) -> Calls:
    load = OpenLoop(cast(Caller, caller), bodies(), np.zeros(5), 1)
    return asyncio.run(load.run(duration=0.1, warmup=0.0, deadline_s=LIMIT_S, drain_s=LIMIT_S, stop=Stop()))


def test_a_connection_that_is_just_free_is_taken_in_turn() -> None:
    caller = Immediate()
    assert at_once(caller).served.all()
    assert caller.called == [body.data for body in bodies()]


def test_an_error_of_the_driver_is_no_failure_of_the_endpoint() -> None:
    with pytest.raises(ZeroDivisionError):
        at_once(Immediate(ZeroDivisionError()))


def test_a_stall_is_in_the_latency_of_all_that_were_due_meanwhile(endpoint: KnownEndpoint) -> None:
    """Over one connection, which the first call holds: the others were due long before they could leave."""
    endpoint.open.clear()

    def watch(due: int, recorder: Recorder) -> None:
        if due == 20:
            endpoint.open.set()

    calls = send(endpoint.url, 20, connections=1, watch=watch)
    assert endpoint.most_in_flight == 1
    assert calls.served.all()
    assert (np.diff(calls.sent_at) > 0).all()  # in their order
    # Corrected, the last one waited as long as the first, but for the 19 ms by which it was due later.
    assert calls.latency_s[-1] > calls.latency_s[0] - 0.02
    # Uncorrected, only the first one did.
    assert (calls.service_s[1:] < calls.service_s[0]).all()
    # And none of it is the driver's.
    assert (calls.schedule_error_s[1:] < calls.waited_s[1:]).all()


def test_connections_are_bounded_and_kept(endpoint: KnownEndpoint) -> None:
    calls = send(endpoint.url, 100, connections=3)
    assert endpoint.most_in_flight <= 3
    assert len(endpoint.connections) <= 3
    assert int((~np.isnan(calls.connect_s)).sum()) == len(endpoint.connections)


def test_refusals_are_counted_by_status(endpoint: KnownEndpoint) -> None:
    endpoint.script = [429, 503, 429, 200, 500]
    calls = send(endpoint.url, 10, connections=1, deadline_s=77.0)
    assert by_failure(calls) == {"429": 2, "503": 1, "500": 1}
    assert calls.reasons["503"] == "503 scripted"
    assert calls.retry_after_s[:3].tolist() == [2, 2, 2]
    assert len(endpoint.rows) == 10  # none was tried again
    assert (calls.latency_s[~calls.served] >= 77.0).all()
    assert (calls.latency_s[calls.served] < 77.0).all()


def test_an_endpoint_that_is_full_refuses_what_is_above(endpoint: KnownEndpoint) -> None:
    """It holds three calls, and refuses others while it does; they are due while it holds them."""
    endpoint.most_waiting = 2
    endpoint.open.clear()

    def watch(due: int, recorder: Recorder) -> None:
        if recorder.failed == 7:
            endpoint.open.set()

    calls = send(endpoint.url, 10, watch=watch)
    assert by_failure(calls) == {"429": 7}
    # Though they were refused at once, the three that were served are the fast ones.
    assert calls.ended_at[~calls.served].max() < calls.ended_at[calls.served].min()
    assert calls.latency_s[~calls.served].min() > calls.latency_s[calls.served].max()


def test_an_answer_that_is_no_prediction_is_a_failure(endpoint: KnownEndpoint) -> None:
    endpoint.body = b'{"predictions": []}'
    calls = send(endpoint.url, 3)
    assert by_failure(calls) == {"bad answer": 3}
    assert "0 predictions for 1 instances" in calls.reasons["bad answer"]


def test_a_time_out(endpoint: KnownEndpoint) -> None:
    endpoint.open.clear()
    calls = send(endpoint.url, 3, timeout_s=0.1, deadline_s=0.1)
    assert by_failure(calls) == {"time-out": 3}
    assert (calls.latency_s >= 0.1).all()


def test_nobody_listens(nobody: str) -> None:
    calls = send(nobody, 3)
    assert by_failure(calls) == {"no answer": 3}
    assert "connection refused" in calls.reasons["no answer"]
    assert np.isnan(calls.sent_at).all()


def test_a_call_that_finds_no_connection_is_given_up_unsent(endpoint: KnownEndpoint) -> None:
    endpoint.open.clear()
    calls = send(endpoint.url, 5, connections=1, timeout_s=0.2, deadline_s=0.1)
    assert by_failure(calls) == {"time-out": 1, "not sent": 4}
    assert len(endpoint.rows) == 1
    assert (calls.latency_s >= 0.1).all()


def test_what_has_no_answer_when_the_load_ends_is_given_up(endpoint: KnownEndpoint) -> None:
    endpoint.open.clear()
    calls = send(endpoint.url, 4, connections=2, drain_s=0.05)
    assert by_failure(calls) == {"given up": 2, "not sent": 2}
    assert (calls.latency_s >= LIMIT_S).all()


def test_a_stop_ends_it_and_is_said(endpoint: KnownEndpoint) -> None:
    stop = Stop()

    def watch(due: int, recorder: Recorder) -> None:
        stop.end("interrupted")

    calls = send(endpoint.url, 100_000, gap_s=0.01, stop=stop, watch=watch)
    assert 0 < len(calls) < 100_000
    assert calls.partial == f"interrupted after {len(calls):,} of 100,000 calls"
    assert calls.served.all()  # those in flight were waited for


def test_callers_of_a_closed_loop_wait_for_their_answers(endpoint: KnownEndpoint) -> None:
    calls = call(
        endpoint.url,
        lambda caller: closed_loop(caller, bodies(4), callers=3, seconds=0.05, least=30, stop=Stop()),
    )
    assert len(calls) == len(endpoint.rows) >= 30
    assert set(endpoint.rows) == {4}
    assert endpoint.most_in_flight <= 3
    assert len(endpoint.connections) == 3
    assert calls.served.all()


def test_a_refused_caller_pauses(endpoint: KnownEndpoint) -> None:
    endpoint.script, endpoint.retry_after = [429] * 1_000, "0"
    begun = time.monotonic()
    calls = call(
        endpoint.url, lambda caller: closed_loop(caller, bodies(), callers=2, seconds=0.01, stop=Stop())
    )
    # Each caller makes one call in the time, though each is answered in a millisecond or so.
    assert by_failure(calls) == {"429": 2}
    assert time.monotonic() - begun >= 0.1


def test_fresh_calls_open_a_connection_each(endpoint: KnownEndpoint) -> None:
    calls = call(
        endpoint.url,
        lambda caller: closed_loop(
            caller, bodies(), callers=1, seconds=0.01, least=5, stop=Stop(), fresh=True
        ),
    )
    assert len(endpoint.connections) == len(calls)
    assert not np.isnan(calls.connect_s).any()
