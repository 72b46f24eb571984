from __future__ import annotations

import threading

import pytest

from loadtest.endpoint.connections import NotServedError, connection_cost, first_call
from loadtest.interrupt import Stop
from tests.loadtest.endpoint.conftest import bodies, call
from tests.loadtest.endpoint.server import KnownEndpoint
from tests.waiting import LIMIT_S, wait_until


def first(url: str, ready_timeout: float = LIMIT_S, stop: Stop | None = None) -> object:
    return call(
        url,
        lambda caller: first_call(caller, bodies()[0], ready_timeout=ready_timeout, stop=stop or Stop()),
    )


def test_the_first_call_opens_a_connection(endpoint: KnownEndpoint) -> None:
    found = call(
        endpoint.url,
        lambda caller: first_call(caller, bodies()[0], ready_timeout=LIMIT_S, stop=Stop()),
    )
    assert found is not None
    assert (found.ready_after_s, found.attempts_before) == (0, 0)
    assert 0 < found.connect_ms < found.first_ms


def test_an_endpoint_that_is_not_ready_is_waited_for(endpoint: KnownEndpoint) -> None:
    endpoint.retry_after = "0"
    endpoint.script = [503, 200]
    found = call(
        endpoint.url,
        lambda caller: first_call(caller, bodies()[0], ready_timeout=LIMIT_S, stop=Stop()),
    )
    assert found is not None
    assert found.attempts_before == 1
    assert found.ready_after_s >= 0.1  # no attempt follows at once


def test_an_endpoint_that_never_is_ready(nobody: str) -> None:
    with pytest.raises(NotServedError, match=r"within 0.01 s \(--ready_timeout\); at last: nothing listens"):
        first(nobody, ready_timeout=0.01)


def test_a_call_that_is_refused_for_good_is_not_repeated(endpoint: KnownEndpoint) -> None:
    endpoint.script = [404]
    with pytest.raises(NotServedError, match="404 scripted"):
        first(endpoint.url)
    assert len(endpoint.rows) == 1


def test_the_wait_ends_with_a_stop(nobody: str) -> None:
    stop = Stop()
    stopping = threading.Timer(0.05, stop.set)
    stopping.start()
    assert first(nobody, stop=stop) is None
    stopping.join()


def test_new_connections_are_new_and_kept_ones_kept(endpoint: KnownEndpoint) -> None:
    cost = call(endpoint.url, lambda caller: connection_cost(caller, bodies()[0], pairs=5, stop=Stop()))
    assert cost is not None
    assert (cost.pairs, cost.failed) == (5, 0)
    assert len(endpoint.rows) == 10
    assert len(endpoint.connections) == 6
    assert 0 < cost.connect_ms < cost.new_ms
    wait_until(lambda: endpoint.in_flight == 0)


def test_failures_are_in_no_median(endpoint: KnownEndpoint) -> None:
    endpoint.script = [200, 503, 200, 200]
    cost = call(endpoint.url, lambda caller: connection_cost(caller, bodies()[0], pairs=2, stop=Stop()))
    assert cost is not None
    assert (cost.pairs, cost.failed) == (1, 1)
