"""An endpoint that is full, away, not ready, not trusted, or hangs. Nothing is lost."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from broker import EmbeddedBroker
from loadtest.summary import Summary
from local.topics import Topics
from tests.certificates import server_context
from tests.integration.conftest import At, Mailbox
from tests.integration.endpoint.conftest import (
    Start,
    assert_given_back,
    assert_own_answers,
    bodies,
    driven,
    lines_with,
    serving,
)
from tests.integration.faulty_endpoint import Broken, Call, FaultyEndpoint, Refusal
from tests.integration.google_token import TokenServer
from tests.integration.test_faults import assert_complete, ids, send
from tests.pipeline.inference.endpoint.server import ScriptedEndpoint
from tests.waiting import wait_until

Drive = Callable[..., Summary]

ENDPOINT = "projects/p-12345/locations/us-central1/endpoints/123"
# Vertex AI's words while an endpoint has no replica.
NOT_READY = Refusal(429, "Model is not yet ready for inference. Please wait and try again.")

pytestmark = pytest.mark.parametrize("pubsub", ["embedded"], indirect=True)


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
