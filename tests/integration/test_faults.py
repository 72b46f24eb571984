"""What may go wrong around a running job. Each ends with nothing lost."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest
from google.pubsub_v1.services.publisher import PublisherClient
from google.pubsub_v1.types import PubsubMessage

from broker import EmbeddedBroker
from loadtest.summary import Summary
from local.topics import Topics
from pipeline.pubsub.channels import publisher_client
from tests.integration.conftest import MODEL, RECORDS, At, Mailbox, Pipeline
from tests.waiting import LIMIT_S, wait_until

Start = Callable[..., Pipeline]
Drive = Callable[..., Summary]


def assert_complete(summary: Summary, sent: int) -> None:
    """Assert that each request was answered by a result and nothing else."""
    assert (summary.sent, summary.received, summary.dead_lettered, summary.lost) == (sent, sent, 0, 0)
    assert summary.error is None


def send(topics: Topics, count: int) -> None:
    """Publish the first `count` records in one call, with the ids r-0, r-1 and so on."""
    records = RECORDS.read_bytes().splitlines()[:count]
    messages = [{"data": data, "attributes": {"request_id": f"r-{n}"}} for n, data in enumerate(records)]
    PublisherClient.publish(publisher_client(), request={"topic": topics.input_topic, "messages": messages})


def ids(messages: list[PubsubMessage]) -> set[str]:
    return {message.attributes["request_id"] for message in messages}


@pytest.mark.parametrize(
    ("pubsub", "rate", "seconds", "killed_at"),
    # Google's emulator goes on dealing messages to the killed reader, about half of them at each redelivery,
    # every 20 s: the fewer they are, the sooner it has none. All records are sent once at least.
    [("embedded", 300, 6, 500), ("emulator", 200, 2, 300)],
    indirect=["pubsub"],
)
def test_kill_and_restart_in_mid_stream(
    start: Start, drive: Drive, rate: float, seconds: float, killed_at: int
) -> None:
    first = start()

    def kill_and_start_again() -> None:
        first.process.kill()
        first.process.wait()
        start()

    trigger = At(killed_at, kill_and_start_again)
    summary = drive(rate, seconds, trigger, drain_timeout=2.5 * LIMIT_S)
    assert trigger.done
    assert_complete(summary, round(rate * seconds))
    assert summary.auc == pytest.approx(0.954941, abs=1e-6)


def test_sigterm_in_mid_stream(start: Start, drive: Drive) -> None:
    first = start()
    codes = []

    def stop_and_start_again() -> None:
        codes.append(first.stop())
        start()

    summary = drive(300, 8, At(500, stop_and_start_again))
    assert codes == [0]
    assert "stopped cleanly" in first.log
    assert_complete(summary, 2400)
    # The first job acknowledged what it had answered: at most a few bundles can be answered again.
    assert summary.duplicates <= 50


def test_run_for_s_ends_by_itself(start: Start) -> None:
    job = start("--run_for_s=1")
    assert job.wait() == 0
    assert "--run_for_s=1 is over" in job.log


@pytest.mark.parametrize("pubsub", ["embedded"], indirect=True)
class TestBroker:
    """Faults that only the embedded broker can be told to make."""

    def test_dropped_streams(self, embedded: EmbeddedBroker, start: Start, drive: Drive) -> None:
        start()
        summary = drive(300, 5, At(500, embedded.faults.drop_streams))
        assert_complete(summary, 1500)

    def test_duplicate_deliveries(self, embedded: EmbeddedBroker, start: Start, drive: Drive) -> None:
        start()
        summary = drive(300, 5, At(500, lambda: embedded.faults.duplicate(times=20)))
        assert_complete(summary, 1500)
        assert summary.duplicates >= 1

    def test_failed_acknowledgements_are_sent_again(
        self, embedded: EmbeddedBroker, topics: Topics, start: Start
    ) -> None:
        send(topics, 100)
        embedded.faults.fail("Acknowledge", grpc.StatusCode.UNAVAILABLE, times=3)
        job = start()
        # Nobody but the job acknowledges yet.
        wait_until(lambda: embedded.stats(topics.input_subscription).acknowledged == 100)
        assert f"could not acknowledge messages of {topics.input_subscription}" in job.log
        assert job.stop() == 0
        stats = embedded.stats(topics.input_subscription)
        assert (stats.backlog, stats.outstanding) == (0, 0)
        assert len(Mailbox(topics.output_subscription).collect(100)) == 100

    def test_publishing_fails_for_a_while(
        self, embedded: EmbeddedBroker, topics: Topics, start: Start
    ) -> None:
        send(topics, 100)
        embedded.faults.fail("Publish", grpc.StatusCode.UNAVAILABLE, times=5)
        job = start()
        assert ids(Mailbox(topics.output_subscription).collect(100)) == {f"r-{n}" for n in range(100)}
        assert embedded.faults.pending("Publish") == 0
        assert job.stop() == 0

    def test_publishing_fails_for_good(self, embedded: EmbeddedBroker, topics: Topics, start: Start) -> None:
        """Past the deadline the job exits 3 with its messages given back; started again, it answers them."""
        send(topics, 100)
        embedded.faults.fail("Publish", grpc.StatusCode.UNAVAILABLE, times=1_000_000)
        job = start("--publish_deadline_s=1")
        assert job.wait() == 3, job.log
        assert f"publishing to {topics.output_topic} failed for 1 s" in job.log
        stats = embedded.stats(topics.input_subscription)
        assert (stats.backlog, stats.outstanding) == (100, 0)

        embedded.faults.clear()
        start()
        assert ids(Mailbox(topics.output_subscription).collect(100)) == {f"r-{n}" for n in range(100)}
        assert embedded.stats(topics.dead_letter_subscription).backlog == 0

    @pytest.mark.parametrize("fault", ["hangs", "fails"])
    def test_stop_while_publishing(
        self, fault: str, embedded: EmbeddedBroker, topics: Topics, start: Start
    ) -> None:
        """The stop is clean even so: with exit code 0 and the messages given back."""
        send(topics, 100)
        if fault == "hangs":
            embedded.faults.delay("Publish", 60, times=1_000)
            job = start()
        else:
            embedded.faults.fail("Publish", grpc.StatusCode.UNAVAILABLE, times=1_000_000)
            job = start("--publish_deadline_s=5")
        wait_until(lambda: embedded.stats(topics.input_subscription).outstanding == 100)
        assert job.stop(by_force=fault == "hangs") == 0, job.log
        stats = embedded.stats(topics.input_subscription)
        assert (stats.backlog, stats.outstanding) == (100, 0)

        embedded.faults.clear()
        start()
        assert ids(Mailbox(topics.output_subscription).collect(100)) == {f"r-{n}" for n in range(100)}


def test_missing_subscription(topics: Topics, start: Start) -> None:
    job = start(f"--input_subscription={topics.input_subscription}-gone")
    assert job.wait() == 1
    assert "NOT_FOUND" in job.log
    assert "check --input_subscription" in job.log


def test_missing_output_topic(topics: Topics, start: Start) -> None:
    job = start(f"--output_topic={topics.output_topic}-gone")
    assert job.wait() == 2
    assert f"--output_topic: there is no topic {topics.output_topic}-gone: create it" in job.log


def test_dead_letters_that_would_come_back_as_requests(topics: Topics, start: Start) -> None:
    job = start(f"--dead_letter_topic={topics.input_topic}")
    assert job.wait() == 2
    assert (
        f"--dead_letter_topic: {topics.input_topic} is the topic that --input_subscription reads" in job.log
    )


def test_dead_letters_that_come_back_are_dropped(
    embedded: EmbeddedBroker, topics: Topics, start: Start
) -> None:
    """Where the account may not look up what feeds the subscription."""
    if os.environ["PUBSUB_EMULATOR_HOST"] != embedded.address:
        pytest.skip("the emulator has no faults")
    embedded.faults.fail("GetSubscription", grpc.StatusCode.PERMISSION_DENIED)
    job = start(f"--dead_letter_topic={topics.input_topic}")
    message = PubsubMessage(data=b"not a request")
    PublisherClient.publish(publisher_client(), topic=topics.input_topic, messages=[message])
    send(topics, 1)
    Mailbox(topics.output_subscription).collect(1)
    wait_until(lambda: "dropped a dead letter" in job.log)

    def is_drained() -> bool:
        stats = embedded.stats(topics.input_subscription)
        return (stats.backlog, stats.outstanding) == (0, 0)

    wait_until(is_drained)
    assert job.stop() == 0


def test_an_output_topic_that_is_deleted(topics: Topics, start: Start) -> None:
    job = start()
    send(topics, 1)
    Mailbox(topics.output_subscription).collect(1)
    PublisherClient.delete_topic(publisher_client(), topic=topics.output_topic)
    send(topics, 1)
    assert job.wait() == 1
    assert f"cannot publish to {topics.output_topic}" in job.log
    assert "1 messages given back" in job.log


def test_a_model_that_does_not_load_costs_no_delivery(
    embedded: EmbeddedBroker, topics: Topics, start: Start, tmp_path: Path
) -> None:
    send(topics, 1)
    # A stream that is opened, even for a moment, uses this up. (With Google's emulator, nothing does.)
    embedded.faults.fail("StreamingPull", grpc.StatusCode.UNAVAILABLE)
    (tmp_path / "broken.pt2").write_bytes(MODEL.read_bytes()[:1000])
    job = start(f"--model_path={tmp_path / 'broken.pt2'}")
    assert job.wait() == 2
    assert "--model_path: " in job.log
    assert "reading projects/" not in job.log
    assert embedded.faults.pending("StreamingPull") == 1
    start()
    assert ids(Mailbox(topics.output_subscription).collect(1)) == {"r-0"}
