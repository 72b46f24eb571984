"""The application behind uvicorn, in this process."""

from __future__ import annotations

import http.client
import logging
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import uvicorn

from pipeline.model.model import Model
from pipeline.request.input_spec import InputSpec
from serving.app import MAX_BODY_BYTES, Service, make_app
from serving.predictor import Predictor
from serving.scoreboard import State
from tests.serving.container import FLOAT32, JSON, Answer, ask, call, instances
from tests.serving.models import FAIL, NO_MEMORY, PID, WAIT, Puppet
from tests.waiting import wait_until

ONE = InputSpec.parse("1")


class Broken(Predictor):
    def answer(self, content_type: str, body: bytes) -> tuple[bytes, str]:
        raise KeyError("a defect of the server")


@dataclass(frozen=True)
class Counting(Predictor):
    """Keeps whatever it is asked."""

    asked: list[bytes] = field(default_factory=list)

    def answer(self, content_type: str, body: bytes) -> tuple[bytes, str]:
        self.asked.append(body)
        return super().answer(content_type, body)


class Harness:
    """A service with a puppet for its model, and its address."""

    def __init__(self, folder: Path) -> None:
        self.state = State.READY
        self.model = Model(Puppet(str(folder)), ONE, "puppet@1")
        self._thread = ThreadPoolExecutor(1)
        self.service = Service(lambda: self.state, self._thread)
        self.service.predictor = Predictor(self.model, ONE, 4)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        app = make_app(self.service, "/health", "/predict")
        self._server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_config=None, access_log=False))
        self._runner = threading.Thread(target=self._server.run, args=([self._listener],))
        self._runner.start()

    def close(self) -> None:
        self._server.should_exit = True
        self._runner.join()
        self._thread.shutdown()

    def predict(self, body: bytes, content_type: str = JSON) -> Answer:
        return call(self.address, "POST", "/predict", body, content_type)


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
    name, _, milliseconds = answer.headers["server-timing"].partition(";dur=")
    assert name == "total"
    assert float(milliseconds) > 0


def test_raw_predict(harness: Harness) -> None:
    answer = harness.predict(np.zeros(3, "<f4").tobytes(), FLOAT32)
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/x-float32; shape=3"
    assert len(answer.body) == 12
    assert answer.headers["x-model-id"] == "puppet@1"


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
    harness.service.predictor = None
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
    predictor = Counting(harness.model, ONE, 4)
    harness.service.predictor = predictor
    server_state = harness._server.server_state
    with ThreadPoolExecutor(2) as caller:
        first = caller.submit(harness.predict, instances([WAIT]))
        wait_until((tmp_path / "entered").exists)
        with closing(http.client.HTTPConnection(harness.address)) as gone:
            gone.request("POST", "/predict", instances([PID], [PID]), {"Content-Type": JSON})
            wait_until(lambda: len(server_state.tasks) == 2)
        wait_until(lambda: len(server_state.connections) == 1)
        (tmp_path / "gate").touch()
        assert first.result().status == 200
        assert harness.predict(instances([PID], [PID], [PID])).status == 200
    assert [body.count(b"],") + 1 for body in predictor.asked] == [1, 3]


def test_a_body_that_never_ends_is_nobodys_defect(harness: Harness, caplog: pytest.LogCaptureFixture) -> None:
    with closing(http.client.HTTPConnection(harness.address)) as gone:
        gone.putrequest("POST", "/predict")
        gone.putheader("Content-Length", "100")
        gone.endheaders(b"some")
        wait_until(lambda: len(harness._server.server_state.tasks) == 1)
    wait_until(lambda: not harness._server.server_state.tasks)
    assert harness.predict(instances([PID])).status == 200
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


def test_only_errors_of_the_server_are_logged(harness: Harness, caplog: pytest.LogCaptureFixture) -> None:
    harness.predict(b"{")
    harness.predict(instances([FAIL]))
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    harness.predict(instances([NO_MEMORY]))
    assert "/predict answered with 503: out of memory" in caplog.text


def test_a_defect_is_answered_with_500_and_logged(harness: Harness, caplog: pytest.LogCaptureFixture) -> None:
    harness.service.predictor = Broken(harness.model, ONE, 4)
    answer = harness.predict(instances([PID]))
    assert answer.status == 500
    assert answer.message == "the server failed (KeyError); its log says more"
    wait_until(lambda: "a defect of the server" in caplog.text)
