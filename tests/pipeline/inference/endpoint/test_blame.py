"""Each row of the table, by an answer as its server sends it, through the client over a real socket."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from pipeline.inference.endpoint import refusals
from pipeline.inference.endpoint.blame import TABLE, Blame, Row, blame_for
from pipeline.inference.endpoint.client import EndpointClient, EndpointConfig
from pipeline.inference.endpoint.responses import HttpResponse
from pipeline.options.address import Address
from pipeline.request.errors import EndpointError, TransientError
from pipeline.request.messages import DeadLetter, Result
from tests.pipeline.inference.endpoint.server import Reply, ScriptedEndpoint
from tests.pipeline.inference.endpoint.test_client import PATIENT, assert_right, predict, requests
from tests.waiting import LIMIT_S, wait_until

BAD = [3, 0, 0]


def google(code: int, status: str, message: str) -> Reply:
    return Reply(code, json.dumps({"error": {"code": code, "message": message, "status": status}}).encode())


def torchserve(code: int, kind: str, message: str) -> Reply:
    return Reply(code, json.dumps({"code": code, "type": kind, "message": message}).encode())


def error_text(status: int, message: str) -> Reply:
    """As Triton and TensorFlow Serving answer."""
    return Reply(status, json.dumps({"error": message}).encode())


NGINX = b"<html>\r\n<head><title>%s</title></head>\r\n</html>"
SKLEARN = google(
    400,
    "FAILED_PRECONDITION",
    "\"Prediction failed: Exception during sklearn prediction: could not convert string to float: 'a'\"\n",
)
NO_MODEL = google(400, "FAILED_PRECONDITION", 'Endpoint projects/1/… misconfigured, "traffic_split" not set.')
TORCHSERVE = torchserve(503, "InternalServerException", "Prediction failed")
TRITON = error_text(500, "Failed to process the request(s) for model 'm_0_0', message: ValueError: poison")
CUDA = error_text(500, "PyTorch execute failure: … CUDA error: CUBLAS_STATUS_EXECUTION_FAILED")
LIBTORCH = error_text(500, "PyTorch execute failure: index out of range in self")
TEAPOT = Reply(418, b"short and stout")

# One for each row of the table, in its order.
ANSWERS = (
    NO_MODEL,
    google(
        400,
        "FAILED_PRECONDITION",
        "Dedicated Endpoint cannot be accessed through the shared Vertex AI domain aiplatform.googleapis.com",
    ),
    Reply(400, NGINX % b"400 The plain HTTP request was sent to HTTPS port"),
    Reply(400, NGINX % b"400 No required SSL certificate was sent"),
    google(
        403,
        "PERMISSION_DENIED",
        "Caller does not have required permission to use project p-1. Grant the caller the "
        "roles/serviceusage.serviceUsageConsumer role, or a custom role with the serviceusage.services.use "
        "permission",
    ),
    google(
        403, "PERMISSION_DENIED", "Vertex AI API has not been used in project 1 before or it is disabled."
    ),
    google(403, "PERMISSION_DENIED", "Permission 'aiplatform.endpoints.predict' denied on resource"),
    google(401, "UNAUTHENTICATED", "Request had invalid authentication credentials."),
    google(404, "NOT_FOUND", "Endpoint projects/1/locations/us-central1/endpoints/2 not found."),
    google(415, "INVALID_ARGUMENT", "application/x-float32: not served"),
    Reply(302, b""),
    Reply(407, NGINX % b"407 Proxy Authentication Required"),
    google(400, "INVALID_ARGUMENT", "Request payload size exceeds the limit: 1572864 bytes."),
    google(
        400,
        "INVALID_ARGUMENT",
        "Failed to handle request. endpoint_id: 3, deployed_model_id: 7 with error: `Response size too large",
    ),
    error_text(400, "[request id: <id_unknown>] inference request batch-size must be <= 2 for 'm'"),
    Reply(413, NGINX % b"413 Request Entity Too Large"),
    google(422, "INVALID_ARGUMENT", "the model failed on these inputs"),
    SKLEARN,
    google(
        400, "FAILED_PRECONDITION", '{\n    "error": "In[0] is not a matrix. Instead it has shape [3]"\n}'
    ),
    TORCHSERVE,
    CUDA,
    TRITON,
    LIBTORCH,
    error_text(400, "output_shape has incorrect number of elements: 2 should be: 1"),
    google(429, "RESOURCE_EXHAUSTED", "Model is not yet ready for inference. Please wait and try again."),
    torchserve(
        503, "ServiceUnavailableException", 'Model "m" has no worker to serve inference request. Please use'
    ),
    torchserve(507, "InternalServerException", "Worker died."),
    TEAPOT,
)
ROWS = [
    pytest.param(row, answer, id=answer.body.decode()[-60:])
    for row, answer in zip(TABLE, ANSWERS, strict=True)
]
OTHERS = (
    # Behind Vertex AI, a container's error is in a text.
    (
        google(400, "FAILED_PRECONDITION", google(422, "INVALID_ARGUMENT", "nan").body.decode()),
        Blame.INSTANCE,
    ),
    (google(503, "UNAVAILABLE", TORCHSERVE.body.decode()), Blame.INSTANCE),
    (torchserve(400, "InternalServerException", "index out of range in self"), Blame.INSTANCE),
    (google(400, "FAILED_PRECONDITION", "the deployed model has no such input"), Blame.UNKNOWN),
    (
        google(403, "PERMISSION_DENIED", "… requires a quota project, which is not set by default."),
        Blame.ENDPOINT,
    ),
    (google(429, "RESOURCE_EXHAUSTED", "Quota exceeded for aiplatform.googleapis.com/…"), Blame.NOBODY),
    (error_text(503, "Exceeds maximum queue size"), Blame.NOBODY),
    (
        error_text(500, "onnx runtime error 2: Non-zero status code returned while running Gather"),
        Blame.INSTANCE,
    ),
    (
        error_text(500, "Failed to process the request(s) for model 'm', message: CUDA out of memory"),
        Blame.NOBODY,
    ),
    (error_text(500, "the server failed (ValueError); its log says more"), Blame.NOBODY),
)


def row_of(answer: Reply) -> Row:
    message, words = HttpResponse(answer.status, {}, answer.body)._error()
    return blame_for(answer.status, words, message)


def client_of(endpoint: ScriptedEndpoint) -> EndpointClient:
    return EndpointClient(
        EndpointConfig(Address(f"{endpoint.address}/predict", False), "predict", 10, 8, PATIENT)
    )


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refusals, "OTHERS_WITHIN_S", 0.3)


@pytest.mark.parametrize(("row", "answer"), ROWS)
def test_each_answer_is_in_its_row(row: Row, answer: Reply) -> None:
    assert row_of(answer) is row


@pytest.mark.parametrize(("answer", "blame"), OTHERS)
def test_others(answer: Reply, blame: Blame) -> None:
    assert row_of(answer).blame is blame


@pytest.mark.parametrize(("row", "answer"), ROWS)
def test_six_requests_and_one_is_answered_so(row: Row, answer: Reply, endpoint: ScriptedEndpoint) -> None:
    _EXPECTED[row.blame](row, answer, endpoint, client := client_of(endpoint))
    client.close()


def _one_dead_letter(row: Row, answer: Reply, endpoint: ScriptedEndpoint, client: EndpointClient) -> None:
    endpoint.refuse = lambda instances: answer if BAD in instances else None
    outcomes = predict(client, requests(6))
    letter = outcomes.pop(3)
    assert isinstance(letter, DeadLetter)
    known = {Blame.INSTANCE: "the endpoint refused it: ", Blame.UNKNOWN: "is not known to mean the request: "}
    assert f"{known[row.blame]}{answer.status}" in letter.error_message
    results = [outcome for outcome in outcomes if isinstance(outcome, Result)]
    assert [float(result.prediction) for result in results] == [0, 1, 2, 4, 5]


def _smaller_calls(row: Row, answer: Reply, endpoint: ScriptedEndpoint, client: EndpointClient) -> None:
    endpoint.refuse = lambda instances: answer if len(instances) > 2 else None
    assert_right(predict(client, requests(6)), 6)
    endpoint.refuse = lambda instances: answer if BAD in instances else None
    letter = predict(client, requests(6))[3]
    assert isinstance(letter, DeadLetter)
    assert letter.error_message.startswith("too large for the endpoint, also by itself: ")


def _tried_again(row: Row, answer: Reply, endpoint: ScriptedEndpoint, client: EndpointClient) -> None:
    endpoint.script = [answer, answer]
    if row.token_refused:  # without a token to renew
        with pytest.raises(EndpointError, match="answered 401 .* wants credentials"):
            predict(client, requests(6))
    else:
        assert_right(predict(client, requests(6)), 6)
        assert endpoint.sizes == [6, 6, 6]


def _the_job_ends(row: Row, answer: Reply, endpoint: ScriptedEndpoint, client: EndpointClient) -> None:
    """Whatever has been served before."""
    assert_right(predict(client, requests(2)), 2)
    endpoint.refuse = lambda instances: answer
    with pytest.raises(EndpointError) as caught:
        predict(client, requests(6))
    assert f"answered {answer.status}" in str(caught.value)
    assert str(caught.value).endswith(row.advice)
    assert row.advice
    assert endpoint.sizes == [2, 6]


_EXPECTED: dict[Blame, Callable[[Row, Reply, ScriptedEndpoint, EndpointClient], None]] = {
    Blame.INSTANCE: _one_dead_letter,
    Blame.UNKNOWN: _one_dead_letter,
    Blame.CALL: _smaller_calls,
    Blame.NOBODY: _tried_again,
    Blame.ENDPOINT: _the_job_ends,
}


@pytest.mark.parametrize("answer", [SKLEARN, TORCHSERVE, TRITON, TEAPOT])
@pytest.mark.usefixtures("impatient")
def test_an_endpoint_that_serves_nothing(answer: Reply, endpoint: ScriptedEndpoint) -> None:
    endpoint.refuse = lambda instances: answer
    client = client_of(endpoint)
    with pytest.raises(EndpointError, match=f"answered {answer.status} .* It has served nothing so far"):
        predict(client, requests(6))
    client.close()


def test_the_first_request_is_bad_and_alone(endpoint: ScriptedEndpoint) -> None:
    """It waits until another bundle's is served."""
    endpoint.refuse = lambda instances: SKLEARN if BAD in instances else None
    client = client_of(endpoint)
    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(predict, client, requests(1, first=3))
        wait_until(lambda: endpoint.sizes)
        assert_right(predict(client, requests(2)), 2)
        (letter,) = first.result(LIMIT_S)
    assert isinstance(letter, DeadLetter)
    assert letter.request_id == "3"
    client.close()


def test_a_neighbours_failure_is_not_believed_at_once(endpoint: ScriptedEndpoint) -> None:
    """Triton gives all requests of the batch that it formed the same answer."""
    client = client_of(endpoint)
    assert_right(predict(client, requests(2)), 2)
    endpoint.script = [TRITON] * 3
    assert_right(predict(client, requests(1)), 1)
    client.close()


@pytest.mark.parametrize("answer", [TRITON, LIBTORCH])
def test_a_call_of_several_is_made_once_more_before_it_is_halved(
    answer: Reply, endpoint: ScriptedEndpoint
) -> None:
    """The offender may be in another call of the batch that Triton formed."""
    client = client_of(endpoint)
    endpoint.script = [answer]
    assert_right(predict(client, requests(6)), 6)
    assert endpoint.sizes == [6, 6]
    endpoint.script = [answer] * 2
    assert_right(predict(client, requests(6)), 6)
    assert endpoint.sizes[2:] == [6, 6, 3, 3]
    client.close()


def test_a_stop_ends_the_wait_for_others(endpoint: ScriptedEndpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.inference.endpoint.client.FINISH_WITHIN_S", 0.1)
    monkeypatch.setattr(refusals, "OTHERS_WITHIN_S", LIMIT_S)
    endpoint.refuse = lambda instances: SKLEARN
    client = client_of(endpoint)
    stopping = threading.Event()
    with ThreadPoolExecutor(1) as threads:
        bundle = threads.submit(
            client.predict, requests(1), stopping=stopping.is_set, throttled=lambda s: None
        )
        wait_until(lambda: endpoint.sizes)
        stopping.set()
        with pytest.raises(TransientError, match="told to stop"):
            bundle.result(LIMIT_S)
    client.close()
