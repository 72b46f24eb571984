"""The routes behind the HTTP server, in this process."""

from __future__ import annotations

import gzip
import http.client
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import numpy as np
import orjson
import pytest

from serving.call_batcher import Answered
from serving.limits import body_limit
from serving.model_call import ModelCall
from serving.predictor import Predictor
from serving.scoreboard import State
from tests.serving.container import FLOAT32, JSON, ask, call, instances
from tests.serving.harness import ONE, Harness
from tests.serving.models import FAIL, NO_MEMORY, PID, WAIT
from tests.waiting import wait_until

MAX_BODY_BYTES = body_limit(ONE, 4)


class Broken:
    def answer(
        self, calls: list[ModelCall], renew: Callable[[], None], deliver: Callable[[Answered], None]
    ) -> None:
        raise KeyError("a defect of the server")


class Counting:
    """Keeps whatever it is asked."""

    def __init__(self, predictor: Predictor) -> None:
        self.asked: list[bytes] = []
        self._predictor = predictor

    def answer(
        self, calls: list[ModelCall], renew: Callable[[], None], deliver: Callable[[Answered], None]
    ) -> None:
        self.asked += [call.body for call in calls if call.is_wanted(0.0)]
        self._predictor.answer(calls, renew, deliver)


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[Harness]:
    harness = Harness(tmp_path)
    yield harness
    (tmp_path / "gate").touch()
    harness.close()


def test_health_is_that_of_the_container(harness: Harness) -> None:
    for state, status in ((State.LOADING, 503), (State.READY, 200), (State.DRAINING, 503)):
        harness.state = state
        assert call(harness.address, "GET", "/health").status == status


def test_predict(harness: Harness) -> None:
    answer = harness.predict(instances([PID], [PID]))
    assert answer.status == 200
    assert len(answer.json["predictions"]) == 2
    assert answer.headers["content-type"] == JSON
    assert answer.headers["x-model-id"] == "puppet@1"
    parts = dict(part.split(";dur=") for part in answer.headers["server-timing"].split(", "))
    assert list(parts) == ["queue", "compute", "total"]
    assert 0 < float(parts["compute"]) < float(parts["total"])


def test_raw_predict(harness: Harness) -> None:
    answer = harness.predict(np.zeros(3, "<f4").tobytes(), FLOAT32)
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/x-float32; shape=3"
    assert len(answer.body) == 12
    assert answer.headers["x-model-id"] == "puppet@1"


@pytest.mark.parametrize(
    ("encodings", "body", "status"),
    [
        (["gzip"], gzip.compress(instances([PID]), mtime=0), 200),
        (["Identity"], instances([PID]), 200),
        (["gzip"], instances([PID]), 400),
        (["gzip"], gzip.compress(bytes(MAX_BODY_BYTES + 1)), 413),
        (["br"], instances([PID]), 415),
        (["gzip", "gzip"], gzip.compress(instances([PID]), mtime=0), 415),
    ],
)
def test_content_encoding(harness: Harness, encodings: list[str], body: bytes, status: int) -> None:
    with closing(http.client.HTTPConnection(harness.address)) as connection:
        connection.putrequest("POST", "/predict")
        for encoding in encodings:
            connection.putheader("Content-Encoding", encoding)
        connection.putheader("Content-Type", JSON)
        connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        response = connection.getresponse()
        answer = orjson.loads(response.read())
    assert response.status == status
    if status == 415:
        assert answer["error"]["message"].startswith(f"Content-Encoding {', '.join(encodings)!r}")


def test_a_connection_serves_many_calls_and_outlives_errors(harness: Harness) -> None:
    with closing(http.client.HTTPConnection(harness.address)) as connection:
        statuses = [
            ask(connection, "POST", "/predict", body, content_type).status
            for body, content_type in [
                (instances([PID]), JSON),
                (b"{", JSON),
                (instances(*[[PID]] * 5), JSON),
                (instances([FAIL]), JSON),
                (b"x", "text/plain"),
                (bytes(MAX_BODY_BYTES + 1), FLOAT32),
                (instances([PID]), JSON),
            ]
        ]
        own_port = connection.sock.getsockname()[1]
        assert ask(connection, "GET", "/health").status == 200
        assert connection.sock.getsockname()[1] == own_port
    assert statuses == [200, 400, 413, 422, 415, 413, 200]


def test_errors_have_googles_shape(harness: Harness) -> None:
    expected = {
        400: (harness.predict(b"{"), "INVALID_ARGUMENT"),
        404: (call(harness.address, "GET", "/docs"), "NOT_FOUND"),
        405: (call(harness.address, "GET", "/predict"), "UNIMPLEMENTED"),
        422: (harness.predict(instances([FAIL])), "INVALID_ARGUMENT"),
        503: (harness.predict(instances([NO_MEMORY])), "UNAVAILABLE"),
    }
    for status, (answer, name) in expected.items():
        assert answer.status == status
        assert answer.message
        assert answer.json["error"]["status"] == name
        assert answer.headers["content-type"] == JSON


def test_there_are_no_pages_of_documentation(harness: Harness) -> None:
    for path in ("/docs", "/redoc", "/openapi.json", "/"):
        assert call(harness.address, "GET", path).status == 404


def test_the_largest_body_is_taken_and_a_larger_one_is_not(harness: Harness) -> None:
    largest = instances([PID])
    largest += b" " * (MAX_BODY_BYTES - len(largest))
    assert harness.predict(largest).status == 200
    answer = harness.predict(largest + b" ")
    assert answer.status == 413
    assert str(MAX_BODY_BYTES) in answer.message


def test_before_the_model_is_loaded(harness: Harness) -> None:
    harness.service.loaded = False
    answer = harness.predict(instances([PID]))
    assert (answer.status, answer.message) == (503, "the model is not loaded yet")


def test_calls_are_served_while_draining_but_connections_are_not_kept(harness: Harness) -> None:
    assert "connection" not in harness.predict(instances([PID])).headers
    harness.state = State.DRAINING
    answer = harness.predict(instances([PID]))
    assert (answer.status, answer.headers["connection"]) == (200, "close")


def test_health_answers_while_the_model_runs(harness: Harness, tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as caller:
        waiting = caller.submit(harness.predict, instances([WAIT]))
        wait_until((tmp_path / "entered").exists)
        assert call(harness.address, "GET", "/health").status == 200
        assert not waiting.done()
        (tmp_path / "gate").touch()
        assert waiting.result().status == 200


def test_who_has_given_up_is_not_computed_for(harness: Harness, tmp_path: Path) -> None:
    predictor = Counting(harness.predictor)
    harness.calls.replace(predictor)
    with ThreadPoolExecutor(2) as caller:
        first = caller.submit(harness.predict, instances([WAIT]))
        wait_until((tmp_path / "entered").exists)
        with closing(http.client.HTTPConnection(harness.address)) as gone:
            gone.request("POST", "/predict", instances([PID], [PID]), {"Content-Type": JSON})
            wait_until(lambda: harness.server.calls == 2)
        wait_until(lambda: harness.server.connections == 1)
        (tmp_path / "gate").touch()
        assert first.result().status == 200
        assert harness.predict(instances([PID], [PID], [PID])).status == 200
    assert [body.count(b"],") + 1 for body in predictor.asked] == [1, 3]


def test_a_body_that_never_ends_is_nobodys_defect(harness: Harness, caplog: pytest.LogCaptureFixture) -> None:
    with closing(http.client.HTTPConnection(harness.address)) as gone:
        gone.putrequest("POST", "/predict")
        gone.putheader("Content-Length", "100")
        gone.endheaders(b"some")
        wait_until(lambda: harness.server.calls == 1)
    wait_until(lambda: not harness.server.calls)
    assert harness.predict(instances([PID])).status == 200
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


def test_only_errors_of_the_server_are_logged(harness: Harness, caplog: pytest.LogCaptureFixture) -> None:
    harness.predict(b"{")
    harness.predict(instances([FAIL]))
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    harness.predict(instances([NO_MEMORY]))
    assert "/predict answered with 503 memory: out of memory" in caplog.text


def test_a_defect_is_answered_with_500_and_logged(harness: Harness, caplog: pytest.LogCaptureFixture) -> None:
    harness.calls.replace(Broken())
    answer = harness.predict(instances([PID]))
    assert answer.status == 500
    assert answer.message == "the server failed (KeyError); its log says more"
    wait_until(lambda: "a defect of the server" in caplog.text)
