"""The job and its client against a real Triton, by KServe's protocol and by its front end for Vertex AI."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import torch

from broker import EmbeddedBroker
from loadtest.records import read_records
from loadtest.summary import Summary
from local.topics import Topics
from local.triton.server import Triton
from pipeline.inference.endpoint.client import EndpointClient, EndpointConfig
from pipeline.inference.endpoint.retry_policy import RetryPolicy
from pipeline.options.address import TRITON, address
from pipeline.request.errors import EndpointError
from pipeline.request.input_spec import InputSpec
from pipeline.request.messages import DeadLetter, Request, Result
from pipeline.request.wire_format import decode
from tests.integration.conftest import MODEL, RECORDS, Pipeline
from tests.integration.triton_models import make_repository
from tests.triton import running_triton
from tests.waiting import LIMIT_S

POLICY = RetryPolicy(timeout_s=LIMIT_S, deadline_s=LIMIT_S, scale_up_wait_s=LIMIT_S)
FRONTS = ("KServe", "Vertex AI")
POISON = 13

Make = Callable[..., EndpointClient]


@pytest.fixture(scope="module")
def triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Triton]:
    folder = tmp_path_factory.mktemp("triton")
    repository = make_repository(folder / "repository")
    # Without a default model the front end does not start beside several.
    flags = ("--vertex-ai-default-model=autoencoder",)
    with running_triton(repository, folder / "log", *flags, vertex=True) as server:
        yield server


@pytest.fixture(params=FRONTS)
def front(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def where(triton: Triton, front: str, model: str) -> dict[str, str | None]:
    """Return the flags by which a front end's model is called."""
    if front == "KServe":
        return {"url": triton.infer_url(model), "model": None}
    return {"url": f"http://{triton.vertex}/predict", "model": model}


@pytest.fixture
def make(triton: Triton, front: str) -> Iterator[Make]:
    clients: list[EndpointClient] = []

    def make_client(model: str, batch_size: int = 8, max_concurrency: int = 8) -> EndpointClient:
        to = address(
            endpoint=None,
            location=None,
            token_host=None,
            project=None,
            protocol=TRITON,
            **where(triton, front, model),
        )
        clients.append(EndpointClient(EndpointConfig(to, TRITON, batch_size, max_concurrency, POLICY)))
        return clients[-1]

    yield make_client
    for client in clients:
        client.close()


def requests(bodies: Sequence[dict[str, Any]], shape: str) -> list[Request]:
    spec = InputSpec.parse(shape)
    return [decode(json.dumps(body).encode(), {}, spec, received=0.0) for body in bodies]


def numbered(numbers: Sequence[int]) -> list[Request]:
    """Make requests whose ids are their sums."""
    return requests([{"features": [n, 0, 0], "request_id": str(n)} for n in numbers], "3")


def predict(client: EndpointClient, batch: list[Request]) -> list[Result | DeadLetter]:
    return client.predict(batch, stopping=lambda: False, throttled=lambda seconds: None)


def sums(outcomes: Sequence[Result | DeadLetter]) -> dict[str, float]:
    return {
        outcome.request.request_id: float(outcome.prediction)
        for outcome in outcomes
        if isinstance(outcome, Result)
    }


def letters(outcomes: Sequence[Result | DeadLetter]) -> dict[str | None, str]:
    return {
        outcome.request_id: outcome.error_message for outcome in outcomes if isinstance(outcome, DeadLetter)
    }


def test_the_examples_predictions_are_those_of_local_mode(make: Make) -> None:
    records = [json.loads(record) for record in read_records(RECORDS).bodies]
    outcomes = predict(make("autoencoder", 32), requests(records, "30"))
    features = torch.tensor([record["features"] for record in records])
    with torch.inference_mode():
        expected = torch.export.load(MODEL).module()(features).numpy()
    assert expected.shape == (len(records),)
    results = [outcome for outcome in outcomes if isinstance(outcome, Result)]
    assert [result.prediction.shape for result in results] == [()] * len(records)
    assert [float(result.prediction) for result in results] == pytest.approx(expected.tolist(), abs=1e-6)
    assert {result.model_id for result in results} == {"autoencoder/3"}


def test_inputs_and_outputs_by_name(make: Make) -> None:
    bodies = [{"inputs": {"ids": [n, 1, 2], "scale": [0.5]}} for n in (3, 5)]
    first, second = predict(make("named"), requests(bodies, "ids:int64:3,scale:float32:1"))
    assert isinstance(first, Result)
    assert isinstance(second, Result)
    for result, wanted, count in ((first, [1.5, 0.5], 6), (second, [2.5, 0.5], 8)):
        assert {name: value.dtype.name for name, value in result.prediction.items()} == {
            "sums": "float64",
            "count": "int64",
        }
        assert (result.prediction["sums"].tolist(), int(result.prediction["count"])) == (wanted, count)
    assert (first.model_id, first.batch_size) == ("named/1", 2)


def test_a_poisoned_row_fails_alone(make: Make) -> None:
    """Triton answers 500 to all that it put together with it."""
    numbers = range(30)
    outcomes = predict(make("picky"), numbered(numbers))
    assert sums(outcomes) == {str(n): n for n in numbers if n != POISON}
    (message,) = letters(outcomes).values()
    assert list(letters(outcomes)) == [str(POISON)]
    assert "the endpoint refused it: 500 Failed to process the request(s) for model" in message
    assert "13 is poison" in message


def test_a_refused_row_fails_alone(make: Make) -> None:
    numbers = range(30)
    outcomes = predict(make("polite"), numbered(numbers))
    assert sums(outcomes) == {str(n): n for n in numbers if n != POISON}
    assert letters(outcomes) == {str(POISON): "the endpoint refused it: 400 13 is not served"}


def test_a_call_of_more_rows_than_the_model_takes_is_halved(make: Make) -> None:
    outcomes = predict(make("polite", batch_size=12), numbered(range(12)))
    assert sums(outcomes) == {str(n): n for n in range(12)}
    assert {outcome.batch_size for outcome in outcomes if isinstance(outcome, Result)} == {6}


def test_a_full_queue_is_waited_for(make: Make) -> None:
    client = make("narrow", batch_size=1, max_concurrency=64)
    numbers = range(100, 164)
    while not client._http.congested:
        assert sums(predict(client, numbered(numbers))) == {str(n): n for n in numbers}


def test_another_shape_than_the_models_is_refused(make: Make) -> None:
    (letter,) = predict(make("polite"), requests([{"features": [1, 2]}], "2"))
    assert isinstance(letter, DeadLetter)
    assert "the endpoint refused it: 400 " in letter.error_message
    assert "unexpected shape for input 'INPUT__0'" in letter.error_message


def test_a_model_that_is_not_there_ends_the_job(make: Make) -> None:
    with pytest.raises(EndpointError, match=r"answered 404 Request for unknown model: 'none' is not found"):
        predict(make("none"), numbered([1]))


@pytest.fixture
def pubsub(embedded: EmbeddedBroker, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", embedded.address)
    return embedded.address


def test_a_job(
    triton: Triton,
    front: str,
    start: Callable[..., Pipeline],
    drive: Callable[..., Summary],
    topics: Topics,
) -> None:
    to = where(triton, front, "autoencoder")
    flags = [f"--endpoint_url={to['url']}", *([f"--endpoint_model={to['model']}"] if to["model"] else [])]
    job = start("--inference_mode=endpoint", "--endpoint_protocol=triton", *flags)
    summary = drive(120, 3)
    assert (summary.sent, summary.received, summary.dead_lettered, summary.lost) == (360, 360, 0, 0)
    assert summary.auc == pytest.approx(0.954941, abs=1e-6)
    assert job.stop() == 0, job.log
