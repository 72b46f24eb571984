"""/metrics after calls of every kind, in this process and from a container whose worker is replaced."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from tests.serving.bytes_on_socket import wire
from tests.serving.conftest import Start
from tests.serving.container import JSON, Serving, ask, call, instances, puppet
from tests.serving.harness import Harness
from tests.serving.models import DIE, FAIL, NAN, NO_MEMORY, PID, WAIT
from tests.serving.prometheus import samples
from tests.waiting import LIMIT_S, wait_until


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[Harness]:
    with ExitStack() as stack:
        harness = Harness(tmp_path, max_queue_size=1)
        stack.callback(harness.close)
        stack.callback((tmp_path / "gate").touch)
        yield harness


def scrape(address: str) -> dict[str, float]:
    answer = call(address, "GET", "/metrics")
    assert (answer.status, answer.headers["content-type"]) == (
        200,
        "text/plain; version=0.0.4; charset=utf-8",
    )
    return samples(answer.body.decode())


def labelled(found: dict[str, float], name: str) -> dict[str, float]:
    """Return what is not 0, by the value of the label."""
    return {key.split('"')[1]: value for key, value in found.items() if key.startswith(f"{name}{{") and value}


def test_calls_by_status_and_failures_by_reason(harness: Harness) -> None:
    for body in (
        *(instances([PID]), instances([PID], [PID]), instances([FAIL]), instances([NAN])),
        *(instances([NO_MEMORY]), b"{", instances(*[[PID]] * 5)),
    ):
        harness.predict(body)
    harness.predict(b"x", "text/plain")
    call(harness.address, "GET", "/predict")
    call(harness.address, "GET", "/nothing")
    call(harness.address, "GET", "/health")
    found = scrape(harness.address)
    calls = {"200": 2, "422": 2, "503": 1, "400": 1, "413": 1, "415": 1, "405": 1, "404": 1}
    assert labelled(found, "serving_calls_total") == calls
    reasons = {"model": 1, "not_finite": 1, "memory": 1, "body": 1, "too_large": 1, "type": 1, "route": 2}
    assert labelled(found, "serving_failures_total") == reasons
    assert (found["serving_rows_total"], found["serving_batch_rows_count"]) == (6, 5)
    assert found["serving_queue_seconds_count"] == found["serving_compute_seconds_count"] == 5
    # Neither health checks nor scrapes are calls.
    assert labelled(scrape(harness.address), "serving_calls_total") == calls


def test_what_is_no_call_of_the_model_counts_too(harness: Harness, tmp_path: Path) -> None:
    with wire(harness.address) as client:
        assert client.send(b"nonsense\r\n\r\n").reply().status == 400
    with ThreadPoolExecutor(2) as callers:
        held = callers.submit(harness.predict, instances([WAIT]))
        wait_until((tmp_path / "entered").exists)
        waiting = callers.submit(harness.predict, instances([PID]))
        wait_until(lambda: harness.calls.waiting == 1)
        assert harness.predict(instances([PID])).status == 503
        (tmp_path / "gate").touch()
        assert (held.result().status, waiting.result().status) == (200, 200)
    (tmp_path / "gate").unlink()
    (tmp_path / "entered").unlink()
    with closing(http.client.HTTPConnection(harness.address)) as gone:
        gone.request("POST", "/predict", instances([WAIT]), {"Content-Type": JSON})
        wait_until((tmp_path / "entered").exists)
    wait_until(lambda: harness.server.connections == 0)
    found = scrape(harness.address)
    assert labelled(found, "serving_failures_total") == {"http": 1, "queue_full": 1, "gone": 1}
    # Who has left gets no answer.
    assert labelled(found, "serving_calls_total") == {"400": 1, "503": 1, "200": 2}


def test_head_and_other_methods(harness: Harness) -> None:
    head = call(harness.address, "HEAD", "/metrics")
    assert (head.status, head.body) == (200, b"")
    assert int(head.headers["content-length"]) > 1000
    answer = call(harness.address, "POST", "/metrics")
    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")


@pytest.mark.slow
def test_counters_go_on_when_a_worker_is_replaced(start: Start, tmp_path: Path) -> None:
    serving = start(*puppet(tmp_path), "--workers=2").ready()
    with ExitStack() as stack:
        # Connections take turns, so each worker has its share.
        pool = [http.client.HTTPConnection(serving.address, timeout=LIMIT_S) for _ in range(4)]
        for connection in pool:
            stack.enter_context(closing(connection))
            assert ask(connection, "POST", "/predict", instances([PID]), JSON).status == 200
        wait_until(lambda: scrape(serving.address)["serving_connections_open"] >= 4)
    before = scrape(serving.address)
    assert before['serving_calls_total{status="200"}'] == before["serving_rows_total"] == 4
    assert before["serving_workers_ready"] == 2
    assert list(labelled(before, "serving_model_info").values()) == [1]
    with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
        serving.predict([DIE])
    wait_until(lambda: "replacing it" in serving.log)
    wait_until(lambda: scrape(serving.address)["serving_worker_restarts_total"] == 1)
    wait_until(lambda: scrape(serving.address)["serving_workers_ready"] == 2)
    after = scrape(serving.address)
    assert after['serving_calls_total{status="200"}'] == 4
    assert after["serving_rows_total"] == 4
    assert labelled(after, "serving_model_info") == labelled(before, "serving_model_info")
    assert serving.predict([PID]).status == 200
    assert scrape(serving.address)['serving_calls_total{status="200"}'] == 5
    assert_all_answer_alike(serving)


def assert_all_answer_alike(serving: Serving) -> None:
    """Whichever worker is asked, it tells of all."""
    with ExitStack() as stack:
        pool = [http.client.HTTPConnection(serving.address, timeout=LIMIT_S) for _ in range(4)]
        for connection in pool:
            stack.enter_context(closing(connection))
            found = samples(ask(connection, "GET", "/metrics").body.decode())
            assert found['serving_calls_total{status="200"}'] == 5


@pytest.mark.slow
def test_a_route_of_vertex_ais_comes_first(start: Start, tmp_path: Path) -> None:
    serving = start(*puppet(tmp_path), "--workers=1", AIP_HEALTH_ROUTE="/metrics").listening()
    wait_until(lambda: call(serving.address, "GET", "/metrics").status == 200)
    assert call(serving.address, "GET", "/metrics").json == {"status": "ready"}
