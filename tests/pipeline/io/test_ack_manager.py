from collections.abc import Iterator

import grpc
import pytest
from google.cloud import pubsub_v1
from google.pubsub_v1.services.publisher import PublisherClient

from broker import EmbeddedBroker
from local.topics import Topics
from pipeline.io import ack_manager as module
from pipeline.io.ack_manager import AckManager
from pipeline.pubsub.channels import publisher_client, subscriber_channel
from tests.waiting import LIMIT_S, wait_until

ROUND_S = module._ROUND_S  # before tests make it short


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def broker(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Iterator[EmbeddedBroker]:
    """Start a broker whose ack deadlines pass only when `clock` is moved."""
    with EmbeddedBroker(clock=clock) as broker:
        monkeypatch.setenv("PUBSUB_EMULATOR_HOST", broker.address)
        monkeypatch.setattr(module, "_ROUND_S", 0.02)
        yield broker


@pytest.fixture
def topics(broker: EmbeddedBroker) -> Topics:
    topics = Topics.fresh("test")
    topics.create()
    return topics


def pulled(topics: Topics, count: int) -> list[str]:
    """Ack ids of messages that were just delivered, under the subscription's lease of 10 s."""
    messages = [{"data": b"x"}] * count
    PublisherClient.publish(publisher_client(), request={"topic": topics.input_topic, "messages": messages})
    with pubsub_v1.SubscriberClient() as client:
        response = client.pull(subscription=topics.input_subscription, max_messages=count)
    return [received.ack_id for received in response.received_messages]


def ack_manager(topics: Topics, clock: Clock, max_lease_s: float = 100) -> AckManager:
    return AckManager(subscriber_channel(), topics.input_subscription, max_lease_s, lambda: None, clock)


def extensions_begun(broker: EmbeddedBroker, count: int) -> None:
    """Return when `count` calls of ModifyAckDeadline have begun, and so all but the last have ended."""
    wait_until(lambda: broker.faults.pending("ModifyAckDeadline") == 0)
    broker.faults.delay("ModifyAckDeadline", 0, times=count)
    wait_until(lambda: broker.faults.pending("ModifyAckDeadline") == 0)


def test_leases_are_extended_while_held(broker: EmbeddedBroker, topics: Topics, clock: Clock) -> None:
    ids = pulled(topics, 3)
    lease_clock = Clock()
    acks = ack_manager(topics, lease_clock)
    acks.hold(ids)
    broker.faults.delay("ModifyAckDeadline", 0, times=1)
    lease_clock.now += 11  # less than half of the 20 s is left
    wait_until(lambda: broker.faults.pending("ModifyAckDeadline") == 0)
    # A second round has begun once the first call's answer has been taken in.
    lease_clock.now += 11
    extensions_begun(broker, 1)
    clock.now += 15  # past the subscription's own 10 s
    stats = broker.stats(topics.input_subscription)
    assert (stats.outstanding, stats.backlog) == (3, 0)
    acks.close()


def test_without_a_hold_the_lease_ends(broker: EmbeddedBroker, topics: Topics, clock: Clock) -> None:
    """The control of the test above."""
    pulled(topics, 3)
    clock.now += 15
    wait_until(lambda: broker.stats(topics.input_subscription).backlog == 3)


def test_a_lease_ends_after_the_longest_time(broker: EmbeddedBroker, topics: Topics, clock: Clock) -> None:
    acks = ack_manager(topics, clock, max_lease_s=60)
    acks.hold(pulled(topics, 1))
    clock.now += 61
    wait_until(lambda: broker.stats(topics.input_subscription).backlog == 1)
    acks.close()


def test_acknowledgements_are_retried(broker: EmbeddedBroker, topics: Topics, clock: Clock) -> None:
    broker.faults.fail("Acknowledge", grpc.StatusCode.UNAVAILABLE, times=2)
    acks = ack_manager(topics, clock)
    ids = pulled(topics, 3)
    acks.hold(ids)
    acks.acknowledge(ids)
    wait_until(lambda: broker.stats(topics.input_subscription).outstanding == 0)
    assert broker.stats(topics.input_subscription).backlog == 0
    acks.close()


def test_leases_are_extended_until_the_acknowledgement_is_accepted(
    broker: EmbeddedBroker, topics: Topics, clock: Clock
) -> None:
    broker.faults.fail("Acknowledge", grpc.StatusCode.UNAVAILABLE, times=100_000)
    ids = pulled(topics, 3)
    lease_clock = Clock()
    acks = ack_manager(topics, lease_clock)
    acks.hold(ids)
    acks.acknowledge(ids)
    broker.faults.delay("ModifyAckDeadline", 0, times=1)
    lease_clock.now += 11
    wait_until(lambda: broker.faults.pending("ModifyAckDeadline") == 0)
    lease_clock.now += 11
    extensions_begun(broker, 1)
    clock.now += 15
    stats = broker.stats(topics.input_subscription)
    assert (stats.outstanding, stats.backlog) == (3, 0)

    assert acks.due == 3
    broker.faults.clear()
    wait_until(lambda: acks.due == 0)
    assert broker.stats(topics.input_subscription).acknowledged == 3
    # And no longer: nothing is extended once it is accepted.
    lease_clock.now += 11
    assert acks.close() == 0


def test_a_retry_waits_whatever_is_handed_in_meanwhile(
    broker: EmbeddedBroker, topics: Topics, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_RETRY_PAUSE_S", LIMIT_S)
    broker.faults.fail("Acknowledge", grpc.StatusCode.UNAVAILABLE, times=1_000)
    acks = ack_manager(topics, clock)
    for _ in range(30):
        # Each pull takes longer than a call would.
        ids = pulled(topics, 1)
        acks.hold(ids)
        acks.acknowledge(ids)
    wait_until(lambda: broker.faults.pending("Acknowledge") < 1_000)
    acks.close()
    # The first, and a last one at the end.
    assert broker.faults.pending("Acknowledge") == 998


def test_a_spell_of_failures_is_told_once_and_its_end(
    broker: EmbeddedBroker,
    topics: Topics,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", module.__name__)
    monkeypatch.setattr(module, "_RETRY_PAUSE_S", 0.001)
    broker.faults.fail("Acknowledge", grpc.StatusCode.UNAVAILABLE, times=20)
    acks = ack_manager(topics, clock)
    ids = pulled(topics, 2)
    acks.hold(ids)
    acks.acknowledge(ids)
    wait_until(lambda: acks.due == 0)
    acks.close()
    name = topics.input_subscription
    assert caplog.messages == [
        f"could not acknowledge messages of {name}: UNAVAILABLE",
        f"could acknowledge messages of {name} again",
    ]


def test_an_extension_that_hangs_leaves_time_for_another(
    broker: EmbeddedBroker, topics: Topics, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A look finds a lease when this much of it is left, or more.
    assert module._EXTEND_TIMEOUT_S + module._RETRY_PAUSE_S < module.ACK_DEADLINE_S / 2 - ROUND_S
    monkeypatch.setattr(module, "_EXTEND_TIMEOUT_S", 0.3)
    lease_clock = Clock()
    acks = ack_manager(topics, lease_clock)
    acks.hold(pulled(topics, 3))
    broker.faults.delay("ModifyAckDeadline", 2, times=1)
    broker.faults.delay("ModifyAckDeadline", 0, times=1)
    lease_clock.now += 11
    wait_until(lambda: broker.faults.pending("ModifyAckDeadline") == 0)
    # A round that begins later extends nothing: they are extended.
    lease_clock.now += 1
    acks.acknowledge(pulled(topics, 1))
    wait_until(lambda: acks.due == 0)
    clock.now += 15
    assert broker.stats(topics.input_subscription).outstanding == 3
    assert acks.close() == 3


def test_close_sends_what_is_due_and_gives_back_the_rest(
    broker: EmbeddedBroker, topics: Topics, clock: Clock
) -> None:
    ids = pulled(topics, 5)
    acks = ack_manager(topics, clock)
    acks.hold(ids)
    acks.acknowledge(ids[:2])
    assert acks.close() == 3
    stats = broker.stats(topics.input_subscription)
    assert (stats.outstanding, stats.backlog) == (0, 3)


def test_close_does_not_wait_for_a_server_that_refuses(
    broker: EmbeddedBroker, topics: Topics, clock: Clock
) -> None:
    broker.faults.fail("Acknowledge", grpc.StatusCode.UNAVAILABLE, times=1_000)
    acks = ack_manager(topics, clock)
    ids = pulled(topics, 1)
    acks.hold(ids)
    acks.acknowledge(ids)
    acks.close()
    assert broker.faults.pending("Acknowledge") > 900


def test_more_than_one_call_takes_are_split(
    broker: EmbeddedBroker, topics: Topics, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_ACK_IDS", 2)
    ids = pulled(topics, 5)
    acks = ack_manager(topics, clock)
    acks.hold(ids)
    broker.faults.delay("Acknowledge", 0, times=3)
    acks.acknowledge(ids)
    wait_until(lambda: broker.stats(topics.input_subscription).acknowledged == 5)
    assert broker.faults.pending("Acknowledge") == 0
    acks.close()
