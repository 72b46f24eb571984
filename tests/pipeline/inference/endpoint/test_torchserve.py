"""Google's prebuilt PyTorch container, TorchServe: the bodies that it takes and gives, on loopback.

The stand-in reads a call as TorchServe's JSON envelope does (ts/torch_handler/request_envelope/json.py in
pytorch/serve), hands the rows to a handler, and answers a handler's exception as TorchServe does.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from typing import Any

import pytest

from pipeline.inference.endpoint.client import EndpointClient, EndpointConfig
from pipeline.options.address import PREDICT, Address
from pipeline.request.input_spec import InputSpec
from pipeline.request.messages import DeadLetter, Request, Result
from pipeline.request.wire_format import decode
from tests.loopback import QuietHandler, serving
from tests.pipeline.inference.endpoint.test_client import PATIENT, predict

Rows = list[Any]
Handler = Callable[[Rows], Rows]


@contextmanager
def torchserve(handler: Handler) -> Iterator[EndpointClient]:
    """Serve a model by its handler, behind Vertex AI's predict; yield the job's client of it."""

    class Server(QuietHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            rows = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["instances"]
            status = 200
            answer: dict[str, Any]
            try:
                answer = {"predictions": handler(rows), "deployedModelId": "77"}
            except ValueError:
                status = 503
                answer = {"code": 503, "type": "InternalServerException", "message": "Prediction failed"}
            body = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    with serving(server):
        url = f"http://127.0.0.1:{server.server_port}/predictions/model"
        client = EndpointClient(EndpointConfig(Address(url, False), PREDICT, 8, 4, PATIENT))
        yield client
        client.close()


def requests(inputs: dict[str, list[Any]], shape: str, count: int) -> list[Request]:
    """Make requests; `inputs` has a list for each field."""
    spec = InputSpec.parse(shape)
    bodies = [{name: values[n] for name, values in inputs.items()} for n in range(count)]
    named = [{"inputs": body} if spec.named else body for body in bodies]
    return [decode(json.dumps(body).encode(), {}, spec, received=0.0) for body in named]


def sums(rows: Rows) -> Rows:
    return [sum(row) for row in rows]


def sums_of_data(rows: Rows) -> Rows:
    return [sum(row["data"]) for row in rows]


def named_sums(rows: Rows) -> Rows:
    return [{"score": sum(row["ids"]) * row["scale"][0]} for row in rows]


FEATURES = [[float(n), 1.0] for n in range(20)]


@pytest.mark.parametrize(
    ("handler", "shape", "inputs", "expected"),
    [
        (sums, "2", {"features": FEATURES}, lambda n: n + 1.0),
        (sums_of_data, "data:float32:2", {"data": FEATURES}, lambda n: n + 1.0),
        (
            named_sums,
            "ids:int64:2,scale:float32:1",
            {"ids": [[n, 1] for n in range(20)], "scale": [[0.5]] * 20},
            lambda n: {"score": (n + 1) * 0.5},
        ),
    ],
)
def test_instances_and_predictions(
    handler: Handler, shape: str, inputs: dict[str, list[Any]], expected: Callable[[int], Any]
) -> None:
    with torchserve(handler) as client:
        outcomes = predict(client, requests(inputs, shape, 20))
    results = [outcome for outcome in outcomes if isinstance(outcome, Result)]
    assert [result.prediction for result in results] == [expected(n) for n in range(20)]
    assert {result.model_id for result in results} == {"77"}


def test_a_row_that_the_handler_fails_on_is_alone_a_dead_letter() -> None:
    def picky(rows: Rows) -> Rows:
        if [13.0, 1.0] in rows:
            raise ValueError("13 is poison")
        return sums(rows)

    with torchserve(picky) as client:
        outcomes = predict(client, requests({"features": FEATURES}, "2", 20))
    letter = outcomes.pop(13)
    assert isinstance(letter, DeadLetter)
    assert letter.error_message == "the endpoint refused it: 503 Prediction failed"
    assert all(isinstance(outcome, Result) for outcome in outcomes)
