"""What may go wrong around a job whose model is behind an endpoint. Each ends with nothing lost.

The container is a real `python -m serving`; the faults are made by a front before it.
"""

from __future__ import annotations

import json
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.pubsub_v1.services.publisher import PublisherClient
from google.pubsub_v1.types import PubsubMessage

from broker import EmbeddedBroker
from loadtest.summary import Summary
from local.topics import Topics
from pipeline.model.load import load
from pipeline.pubsub.channels import publisher_client
from pipeline.request.input_spec import InputSpec
from tests.certificates import server_context
from tests.integration.conftest import MODEL, RECORDS, At, Mailbox, Pipeline
from tests.integration.faulty_endpoint import Answer, Broken, Call, Fault, FaultyEndpoint, Refusal
from tests.integration.google_token import TokenServer
from tests.integration.test_faults import assert_complete, ids, send
from tests.pipeline.inference.endpoint.server import ScriptedEndpoint
from tests.serving.container import Serving
from tests.waiting import wait_until

Start = Callable[..., Pipeline]
Drive = Callable[..., Summary]
Result = dict[str, Any]  # as its JSON says

FEATURES = 30
ENDPOINT = "projects/p-12345/locations/us-central1/endpoints/123"
BROKEN = (Broken.CUT_BODY, Broken.MALFORMED, Broken.TOO_FEW, Broken.TOO_MANY)
# Vertex AI's words while an endpoint has no replica.
NOT_READY = Refusal(429, "Model is not yet ready for inference. Please wait and try again.")

pytestmark = pytest.mark.parametrize("pubsub", ["embedded"], indirect=True)


@contextmanager
def serving(log: Path, port: str = "0") -> Iterator[Serving]:
    """Start a container with the example's model and wait until it is ready."""
    variables = {"AIP_HTTP_PORT": port, "AIP_STORAGE_URI": str(MODEL)}
    container = Serving(log, ("--workers=1", "--drain_s=0.5"), variables)
    try:
        yield container.ready()
    finally:
        container.close()


@pytest.fixture(scope="module")
def container(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    with serving(tmp_path_factory.mktemp("serving") / "serving.log") as container:
        yield container


@pytest.fixture
def front(container: Serving) -> Iterator[FaultyEndpoint]:
    host, _, port = container.address.partition(":")
    # Held for a while, calls carry more than one instance, so that a row could be shifted.
    with FaultyEndpoint(host, int(port), FEATURES, delay_s=0.02) as front:
        yield front


@pytest.fixture
def start_job(start: Start, front: FaultyEndpoint) -> Start:
    """Return a function that starts a job that calls the front."""
    return partial(start, "--inference_mode=endpoint", f"--endpoint_url={front.url}/predict")


@pytest.fixture(scope="module")
def predictions() -> dict[int, float]:
    """Return the model's own answer to each record, by record_id."""
    model = load(str(MODEL), InputSpec.parse(str(FEATURES)), max_batch_size=355)
    records = [json.loads(line) for line in RECORDS.read_bytes().splitlines()]
    rows = model.predict([np.array(record["features"], np.float32) for record in records])
    return {record["record_id"]: float(row) for record, row in zip(records, rows, strict=True)}


def assert_own_answers(results: Iterable[Result], predictions: dict[int, float]) -> None:
    """Assert that each result holds the model's answer to its own record."""
    for result in results:
        record_id = result["passthrough"]["record_id"]
        assert result["prediction"] == pytest.approx(predictions[record_id], rel=1e-4), record_id


def driven(out: Path) -> list[Result]:
    """Return the results of a run of the load driver."""
    return [json.loads(line)["result"] for line in (out / "results.jsonl").read_text().splitlines()]


def bodies(messages: list[PubsubMessage]) -> list[Result]:
    return [json.loads(message.data) for message in messages]


def lines_with(text: str, log: str) -> list[str]:
    return [line for line in log.splitlines() if text in line]


def assert_given_back(embedded: EmbeddedBroker, topics: Topics, count: int) -> None:
    """Assert that all messages are in the subscription again and none has become a dead letter."""
    stats = embedded.stats(topics.input_subscription)
    assert (stats.backlog, stats.outstanding) == (count, 0)
    assert embedded.stats(topics.dead_letter_subscription).backlog == 0


def test_full_for_20_s(
    start_job: Start, drive: Drive, front: FaultyEndpoint, predictions: dict[int, float], tmp_path: Path
) -> None:
    # Several calls are in flight when it begins, and each is tried again and again.
    front.delay_s = 0.05
    job = start_job("--endpoint_batch_size=1")
    emptied = threading.Timer(20, front.behave)
    emptied.daemon = True

    def fill_up() -> None:
        front.misbehave(Refusal(429, "Quota exceeded"))
        emptied.start()

    summary = drive(40, 20, At(40, fill_up))
    assert_complete(summary, 800)
    assert summary.auc == pytest.approx(0.954941, abs=1e-6)
    assert_own_answers(driven(tmp_path / "out"), predictions)
    assert len(front.faulted) >= 20
    assert 1 <= len(lines_with("429 Quota exceeded", job.log)) <= 2, job.log
    assert job.stop() == 0


@pytest.mark.parametrize(
    ("faults", "every", "flags", "reason"),
    [
        pytest.param([Refusal(503, "busy")], 5, [], "503 busy", id="503 for one call in five"),
        pytest.param([Broken.HANG], 10, ["--endpoint_timeout_s=1"], "no answer within 1 s", id="hangs"),
        # Of several calls at once, whichever is found broken first is told of.
        pytest.param(BROKEN, 3, [], "", id="broken answers"),
        pytest.param(BROKEN, 3, ["--endpoint_protocol=raw"], "", id="broken raw answers"),
    ],
)
def test_some_calls_fail(
    faults: list[Fault], every: int, flags: list[str], reason: str,
    start_job: Start, drive: Drive, front: FaultyEndpoint, predictions: dict[int, float], tmp_path: Path,
) -> None:  # fmt: skip
    front.misbehave(*faults, every=every)
    job = start_job(*flags)
    summary = drive(200, 2)
    assert_complete(summary, 400)
    assert_own_answers(driven(tmp_path / "out"), predictions)
    assert {call.fault for call in front.faulted} == set(faults)
    assert max(len(call.rows) for call in front.faulted) > 1
    assert 1 <= len(lines_with(f"{front.url}/predict: {reason}", job.log)) <= 3, job.log
    assert job.stop() == 0


HOSTILE = {
    "nested deep": Answer.of(b"[" * 200_000),
    "nested deep beside NaN": Answer.of(b'{"predictions": [' + b"[" * 900 + b"NaN" + b"]" * 900 + b"]}"),
    "lists of nothing": Answer.of(b'{"predictions": [[' + b"[]," * 3_000_000 + b"[]]]}"),
    "gzip of nothing": Answer.of(zlib.compress(b" " * 30_000_000, wbits=31), Content_Encoding="gzip"),
    "no end": Answer(b"HTTP/1.1 200 OK\r\n\r\n", again=b"[" * 65_536),
    "headers without end": Answer(b"HTTP/1.1 200 OK\r\n", again=b"X-A: b\r\n" * 1_000),
    "a shape of 71 dimensions": Answer.of(
        bytes(4), Content_Type=f"application/x-float32; shape={'x'.join('1' * 71)}"
    ),
}


@pytest.mark.parametrize("flags", [(), ("--endpoint_protocol=raw",)], ids=["JSON", "raw"])
def test_hostile_answers(
    flags: tuple[str, ...], start_job: Start, drive: Drive, front: FaultyEndpoint,
    predictions: dict[int, float], tmp_path: Path,
) -> None:  # fmt: skip
    """One call in four is answered so, and everybody has the right answer in the end."""
    front.misbehave(*HOSTILE.values(), every=4)
    # At least 60 calls, however many requests have piled up.
    job = start_job("--endpoint_batch_size=5", *flags)
    summary = drive(100, 3)
    assert_complete(summary, 300)
    assert_own_answers(driven(tmp_path / "out"), predictions)
    assert {call.fault for call in front.faulted} == set(HOSTILE.values())
    assert job.stop() == 0, job.log
    assert not lines_with(" ERROR ", job.log), job.log


def test_a_hostile_model_id(
    embedded: EmbeddedBroker, topics: Topics, start_job: Start, front: FaultyEndpoint
) -> None:
    """It becomes an attribute of the result, and Pub/Sub takes 1,024 bytes of it."""
    send(topics, 1)
    front.misbehave(Answer.of(b'{"predictions": [0.5]}', X_Model_Id="m\x1b\xff" * 1_000))
    job = start_job()
    [result] = Mailbox(topics.output_subscription).collect(1)
    model_id = result.attributes["model_id"]
    assert 1_000 < len(model_id.encode()) <= 1_024
    assert model_id.isprintable()
    assert json.loads(result.data)["model_id"] == model_id
    assert job.stop() == 0, job.log


def test_expired_token(
    start: Start, drive: Drive, front: FaultyEndpoint, predictions: dict[int, float],
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    with TokenServer() as tokens:
        tokens.write_key(tmp_path / "key.json")
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "key.json"))
        front.misbehave(
            Refusal(401, "Request had invalid authentication credentials."),
            when=lambda call: not tokens.accepts(call.headers.get("authorization")),
        )
        # Many calls are in flight when it expires, and some are refused after a new one has come.
        front.delay_s = 0.05
        start(
            "--inference_mode=endpoint",
            f"--endpoint={ENDPOINT}",
            f"--endpoint_url={front.url}",
            "--endpoint_protocol=raw",
            "--endpoint_batch_size=1",
        )
        trigger = At(100, tokens.revoke)
        summary = drive(200, 2, trigger)
        assert trigger.done
        assert_complete(summary, 400)
        assert_own_answers(driven(tmp_path / "out"), predictions)
        assert len(front.faulted) > 1
        assert (tokens.exchanges, tokens.refused) == (2, [])
    assert {call.path for call in front.calls} == {f"/v1/{ENDPOINT}:rawPredict"}


def test_one_bad_instance(
    start_job: Start, front: FaultyEndpoint, topics: Topics, predictions: dict[int, float]
) -> None:
    """What the job could decode and the endpoint refuses is a dead letter; nothing else is."""
    records = [json.loads(line) for line in RECORDS.read_bytes().splitlines()[:40]]
    records[17]["features"][0] = 12345.0
    messages = [
        {"data": json.dumps(record).encode(), "attributes": {"request_id": f"r-{n}"}}
        for n, record in enumerate(records)
    ]
    PublisherClient.publish(publisher_client(), request={"topic": topics.input_topic, "messages": messages})
    reason = "instance out of range"
    front.misbehave(Refusal(400, reason), when=lambda call: bool((call.rows[:, 0] == 12345).any()))
    job = start_job()

    [letter] = Mailbox(topics.dead_letter_subscription).collect(1)
    assert letter.data == messages[17]["data"]
    assert letter.attributes["request_id"] == "r-17"
    assert letter.attributes["error_stage"] == "inference"
    assert reason in letter.attributes["error_message"]
    results = Mailbox(topics.output_subscription).collect(39)
    assert ids(results) == {f"r-{n}" for n in range(40)} - {"r-17"}
    assert_own_answers(bodies(results), predictions)
    assert len(front.faulted[0].rows) > 1
    assert job.stop() == 0


def google_error(status: str, message: str) -> bytes:
    return json.dumps({"error": {"code": 400, "message": message, "status": status}}).encode()


PREDICTION_FAILED = Answer.of(
    google_error("FAILED_PRECONDITION", '"Prediction failed: Exception during sklearn prediction: no"\n'), 400
)
# Others are in tests/pipeline/inference/endpoint/test_blame.py.
BLAMES_AN_INSTANCE = {
    "prebuilt container": PREDICTION_FAILED,
    "TorchServe": Answer.of(
        b'{"code": 503, "type": "InternalServerException", "message": "Prediction failed"}', 503
    ),
    "not known": Answer.of(b"short and stout", 418),
}


@pytest.mark.parametrize("answer", BLAMES_AN_INSTANCE.values(), ids=BLAMES_AN_INSTANCE)
def test_one_bad_request_of_six_as_other_servers_refuse_it(
    answer: Answer, start_job: Start, front: FaultyEndpoint, topics: Topics, predictions: dict[int, float]
) -> None:
    records = [json.loads(line) for line in RECORDS.read_bytes().splitlines()[:6]]
    records[3]["features"][0] = 12345.0
    messages = [
        {"data": json.dumps(record).encode(), "attributes": {"request_id": f"r-{n}"}}
        for n, record in enumerate(records)
    ]
    PublisherClient.publish(publisher_client(), request={"topic": topics.input_topic, "messages": messages})
    front.misbehave(answer, when=lambda call: bool((call.rows[:, 0] == 12345).any()))
    job = start_job()
    [letter] = Mailbox(topics.dead_letter_subscription).collect(1)
    assert letter.attributes["request_id"] == "r-3"
    results = Mailbox(topics.output_subscription).collect(5)
    assert ids(results) == {"r-0", "r-1", "r-2", "r-4", "r-5"}
    assert_own_answers(bodies(results), predictions)
    assert job.stop() == 0, job.log


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        pytest.param(
            PREDICTION_FAILED, "It has served nothing so far, so no request is blamed", id="all fail"
        ),
        pytest.param(
            Answer.of(google_error("FAILED_PRECONDITION", 'misconfigured, "traffic_split" not set.'), 400),
            "Deploy a model to the endpoint",
            id="no model",
        ),
    ],
)
def test_an_endpoint_that_has_never_served(
    answer: Answer,
    words: str,
    embedded: EmbeddedBroker,
    topics: Topics,
    start_job: Start,
    front: FaultyEndpoint,
) -> None:
    send(topics, 6)
    front.misbehave(answer)
    job = start_job()
    assert job.wait() == 1, job.log
    assert_given_back(embedded, topics, 6)
    [line] = lines_with(" ERROR ", job.log)
    assert words in line


def test_an_address_where_nothing_listens(
    embedded: EmbeddedBroker, topics: Topics, start: Start, front: FaultyEndpoint
) -> None:
    """The log has the cause with the first attempt, in one line."""
    send(topics, 6)
    front.go_away()
    job = start(
        "--inference_mode=endpoint", f"--endpoint_url={front.url}/predict", "--endpoint_deadline_s=60"
    )
    server = front.url.removeprefix("http://")
    wait_until(lambda: "; trying again (1 failed)" in job.log)
    [line] = lines_with("trying again", job.log)
    assert f"nothing listens at {server} (connection refused). Check that it runs, and the port" in line
    assert job.stop() == 0, job.log
    assert_given_back(embedded, topics, 6)


def test_a_certificate_that_is_not_accepted(
    embedded: EmbeddedBroker, topics: Topics, start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job ends with 1 at once, and with SSL_CERT_FILE it works."""
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    send(topics, 6)
    with ScriptedEndpoint(server_context(tmp_path, "localhost")) as server:
        flags = ("--inference_mode=endpoint", f"--endpoint_url=https://localhost:{server.port}/predict")
        job = start(*flags)
        assert job.wait() == 1, job.log
        [line] = lines_with(" ERROR ", job.log)
        assert "is not accepted (self-signed certificate)" in line
        assert "SSL_CERT_FILE" in line
        assert_given_back(embedded, topics, 6)
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "certificate.pem"))
        second = start(*flags)
        assert len(Mailbox(topics.output_subscription).collect(6)) == 6
        assert second.stop() == 0, second.log


def test_batches_too_large_for_the_endpoint(
    embedded: EmbeddedBroker, topics: Topics, start_job: Start, front: FaultyEndpoint,
    predictions: dict[int, float],
) -> None:  # fmt: skip
    """They are answered in parts, and no request is blamed for the size of its batch."""
    send(topics, 100)
    front.misbehave(Refusal(413, "too many instances"), when=lambda call: len(call.rows) > 3)
    job = start_job("--endpoint_protocol=raw")
    results = Mailbox(topics.output_subscription).collect(100)
    assert ids(results) == {f"r-{n}" for n in range(100)}
    assert_own_answers(bodies(results), predictions)
    assert front.faulted
    assert job.stop() == 0
    assert embedded.stats(topics.dead_letter_subscription).backlog == 0


def test_container_restarted_under_load(
    start: Start, drive: Drive, predictions: dict[int, float], tmp_path: Path
) -> None:
    with ExitStack() as running:
        first = running.enter_context(serving(tmp_path / "serving-0.log"))
        codes = []

        def restart() -> None:
            first.process.terminate()
            codes.append(first.wait())
            port = first.address.rpartition(":")[2]
            running.enter_context(serving(tmp_path / "serving-1.log", port))

        job = start("--inference_mode=endpoint", f"--endpoint_url=http://{first.address}/predict")
        summary = drive(100, 6, At(150, restart))
        assert codes == [0]
        assert_complete(summary, 600)
        assert summary.auc == pytest.approx(0.954941, abs=1e-6)
        assert_own_answers(driven(tmp_path / "out"), predictions)
        assert job.stop() == 0


def test_gone_for_good(
    embedded: EmbeddedBroker, topics: Topics, start_job: Start, front: FaultyEndpoint
) -> None:
    """Past the deadline the job exits 3 with its messages given back; started again, it answers them."""
    job = start_job("--endpoint_deadline_s=3", "--endpoint_timeout_s=2")
    send(topics, 10)
    assert ids(Mailbox(topics.output_subscription).collect(10)) == {f"r-{n}" for n in range(10)}
    # A result is out before its message is acknowledged.
    wait_until(lambda: embedded.stats(topics.input_subscription).acknowledged == 10)

    front.go_away()
    send(topics, 100)
    assert job.wait() == 3, job.log
    assert_given_back(embedded, topics, 100)
    [line] = lines_with(" ERROR ", job.log)
    assert f"{front.url}/predict failed for 3 s (--endpoint_deadline_s)" in line

    front.come_back()
    start_job()
    assert ids(Mailbox(topics.output_subscription).collect(100)) == {f"r-{n}" for n in range(100)}
    assert embedded.stats(topics.dead_letter_subscription).backlog == 0


def waited_s(calls: list[Call]) -> float:
    """Return the seconds from the first of the calls to the last."""
    return calls[-1].arrived - calls[0].arrived if calls else 0


def test_scaling_up_from_zero(
    embedded: EmbeddedBroker, topics: Topics, start_job: Start, front: FaultyEndpoint,
    predictions: dict[int, float],
) -> None:  # fmt: skip
    """The wait is longer than any deadline, can be interrupted, and is told once."""
    send(topics, 100)
    front.misbehave(NOT_READY)
    first = start_job()
    wait_until(lambda: len(front.calls) > 1)
    assert first.stop() == 0, first.log
    # The wait was given up.
    assert "stopped: told to stop while waiting" in first.log
    assert not lines_with(" ERROR ", first.log), first.log
    assert_given_back(embedded, topics, 100)

    asked = len(front.calls)
    second = start_job("--endpoint_deadline_s=2")
    wait_until(lambda: waited_s(front.calls[asked:]) > 3)
    front.behave()
    results = Mailbox(topics.output_subscription).collect(100)
    assert ids(results) == {f"r-{n}" for n in range(100)}
    assert_own_answers(bodies(results), predictions)
    assert second.stop() == 0
    assert embedded.stats(topics.dead_letter_subscription).backlog == 0
    for job in (first, second):
        assert len(lines_with("not yet ready for inference", job.log)) == 1, job.log


def test_not_scaled_up_in_time(
    embedded: EmbeddedBroker, topics: Topics, start_job: Start, front: FaultyEndpoint
) -> None:
    send(topics, 100)
    front.misbehave(NOT_READY)
    job = start_job("--endpoint_scale_up_wait_s=1")
    assert job.wait() == 3, job.log
    assert_given_back(embedded, topics, 100)
    [line] = lines_with(" ERROR ", job.log)
    assert "not ready for inference within 1 s (--endpoint_scale_up_wait_s)" in line


@pytest.mark.parametrize("status", [403, 404])
def test_an_endpoint_that_will_never_serve(
    status: int, embedded: EmbeddedBroker, topics: Topics, start_job: Start, front: FaultyEndpoint
) -> None:
    """No request is to blame, and starting again would not mend it."""
    send(topics, 100)
    front.misbehave(Refusal(status, "no such luck"))
    job = start_job()
    assert job.wait() == 1, job.log
    assert_given_back(embedded, topics, 100)
    [line] = lines_with(" ERROR ", job.log)
    assert f"{front.url}/predict answered {status} no such luck" in line


def test_stop_while_calls_hang(
    embedded: EmbeddedBroker, topics: Topics, start_job: Start, front: FaultyEndpoint
) -> None:
    """The stop is clean even so: not cut off by force, with exit code 0 and the messages given back."""
    send(topics, 100)
    front.misbehave(Broken.HANG)
    job = start_job()
    wait_until(lambda: front.faulted)
    assert job.stop() == 0, job.log
    assert_given_back(embedded, topics, 100)
