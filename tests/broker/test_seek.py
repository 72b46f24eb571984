"""Seek to a time, and what is kept for it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import grpc
import pytest

from broker import EmbeddedBroker
from broker.leases import Consumer, Message
from broker.retention import MessageLog
from broker.settings import subscription_settings
from broker.subscription import Subscription
from pipeline.pubsub import protos
from tests.broker.both import PROJECT, Service, data
from tests.broker.conftest import FakeClock
from tests.waiting import wait_until

DAY_S = 24 * 60 * 60
LONG_AGO = 1_000_000_000.0
LATER = 4_000_000_000.0


@pytest.fixture
def between(service: Service, clock: FakeClock) -> Callable[[], float]:
    """Return a function that returns a time between what was published before it and after it."""

    def embedded_time() -> float:
        clock.advance(2)
        return clock() - 1

    def emulator_time() -> float:
        # Its publish times are of milliseconds.
        time.sleep(0.01)
        now = time.time()
        time.sleep(0.01)
        return now

    return embedded_time if service.name == "embedded" else emulator_time


def test_a_seek_forward_acknowledges(service: Service, between: Callable[[], float]) -> None:
    topic = service.create_topic()
    subscription = service.create_subscription(topic)
    service.publish(topic, b"old")
    middle = between()
    service.publish(topic, b"new")
    service.seek(subscription, middle)
    assert data(service.pull(subscription)) == [b"new"]


def test_a_seek_into_the_future_empties(service: Service) -> None:
    topic = service.create_topic()
    subscription = service.create_subscription(topic)
    service.publish(topic, b"old")
    service.seek(subscription, LATER)
    assert service.pull(subscription) == []
    service.publish(topic, b"new")
    assert data(service.pull(subscription)) == [b"new"]


def test_a_seek_back_restores_what_is_retained(service: Service, between: Callable[[], float]) -> None:
    topic = service.create_topic()
    subscription = service.create_subscription(topic, retain_acked_messages=True)
    service.publish(topic, b"old")
    middle = between()
    service.publish(topic, b"new")
    service.acknowledge(subscription, service.pull(subscription))
    service.seek(subscription, middle)
    received = service.pull(subscription)
    assert data(received) == [b"new"]
    service.acknowledge(subscription, received)
    service.seek(subscription, LONG_AGO)
    assert sorted(data(service.pull(subscription))) == [b"new", b"old"]


def test_a_seek_back_restores_nothing_that_is_not_retained(service: Service) -> None:
    topic = service.create_topic()
    subscription = service.create_subscription(topic)
    service.publish(topic, b"a")
    service.acknowledge(subscription, service.pull(subscription))
    service.seek(subscription, LONG_AGO)
    assert service.pull(subscription) == []


def test_a_topic_retains_for_its_subscriptions(service: Service) -> None:
    topic = service.create_topic(message_retention_duration={"seconds": 600})
    subscription = service.create_subscription(topic)
    service.publish(topic, b"a")
    service.acknowledge(subscription, service.pull(subscription))
    service.seek(subscription, LONG_AGO)
    assert data(service.pull(subscription)) == [b"a"]


def test_a_new_subscription_may_seek_to_what_its_topic_retains(embedded: Service) -> None:
    """As the service documents; the emulator gives it nothing."""
    topic = embedded.create_topic(message_retention_duration={"seconds": 600})
    embedded.publish(topic, b"a", attributes={"k": "v"})
    embedded.publish(topic, b"b")
    subscription = embedded.create_subscription(topic, filter="attributes:k")
    assert embedded.pull(subscription) == []
    embedded.seek(subscription, LONG_AGO)
    assert data(embedded.pull(subscription)) == [b"a"]


@pytest.mark.parametrize(
    ("target", "code"),
    [
        ({}, grpc.StatusCode.INVALID_ARGUMENT),
        ({"subscription": f"{PROJECT}/subscriptions/missing", "time": {}}, grpc.StatusCode.NOT_FOUND),
    ],
    ids=["no target", "no subscription"],
)
def test_a_bad_seek_is_refused(target: dict[str, object], code: grpc.StatusCode, service: Service) -> None:
    subscription = service.create_subscription(service.create_topic())
    request = protos.SeekRequest(**{"subscription": subscription, **target})
    assert service.refusal("Subscriber/Seek", request)[0] is code


def test_what_is_out_and_older_is_acknowledged(
    embedded: Service, broker: EmbeddedBroker, clock: FakeClock
) -> None:
    topic = embedded.create_topic()
    subscription = embedded.create_subscription(topic)
    embedded.publish(topic, b"old")
    clock.advance(1)
    embedded.publish(topic, b"new")
    old, new = embedded.pull(subscription)
    embedded.seek(subscription, clock())
    assert broker.stats(subscription).outstanding == 1
    embedded.nack(subscription, [old, new])
    assert data(embedded.pull(subscription)) == [b"new"]


def test_what_is_out_comes_not_twice(embedded: Service) -> None:
    topic = embedded.create_topic(message_retention_duration={"seconds": 600})
    subscription = embedded.create_subscription(topic, retain_acked_messages=True)
    embedded.publish(topic, b"a", b"b")
    first, _ = embedded.pull(subscription)
    embedded.acknowledge(subscription, [first])
    embedded.seek(subscription, LONG_AGO)
    assert data(embedded.pull(subscription)) == [b"a"]


def test_a_seek_goes_forth_and_back(embedded: Service, clock: FakeClock) -> None:
    topic = embedded.create_topic()
    subscription = embedded.create_subscription(topic, retain_acked_messages=True)
    embedded.publish(topic, b"a", b"b")
    embedded.seek(subscription, LATER)
    embedded.seek(subscription, LONG_AGO)
    assert data(embedded.pull(subscription)) == [b"a", b"b"]


def test_unacknowledged_messages_are_gone_after_their_retention(
    embedded: Service, broker: EmbeddedBroker, clock: FakeClock
) -> None:
    topic = embedded.create_topic()
    subscription = embedded.create_subscription(topic, message_retention_duration={"seconds": 600})
    embedded.publish(topic, b"old", b"held")
    clock.advance(300)
    embedded.publish(topic, b"new")
    received = embedded.pull(subscription, max_messages=2)
    assert data(received) == [b"old", b"held"]
    clock.advance(301)
    # Both come back behind the new one, and are past their retention.
    wait_until(lambda: not broker.stats(subscription).outstanding)
    assert data(embedded.pull(subscription)) == [b"new"]
    assert broker.stats(subscription).backlog == 0


def test_what_nobody_pulls_takes_no_memory_after_its_retention(
    embedded: Service, broker: EmbeddedBroker, clock: FakeClock
) -> None:
    topic = embedded.create_topic()
    subscription = embedded.create_subscription(topic, message_retention_duration={"seconds": 600})
    embedded.publish(topic, b"old")
    clock.advance(601)
    wait_until(lambda: broker.stats(subscription).backlog == 0)


def test_what_is_retained_takes_no_memory_after_its_retention(clock: FakeClock) -> None:
    request = protos.Subscription(
        name=f"{PROJECT}/subscriptions/sub", topic=f"{PROJECT}/topics/topic", retain_acked_messages=True
    )
    subscription = Subscription(subscription_settings(request), clock)
    message = Message("1", b"x", clock())
    references = sys.getrefcount(message)
    subscription.enqueue([message])
    subscription.acknowledge(
        [lease.ack_id for lease in subscription.take(Consumer(lambda: None, ack_deadline_s=10))]
    )
    assert sys.getrefcount(message) == references + 1
    clock.advance(7 * DAY_S + 1)
    subscription.expire_messages()
    assert sys.getrefcount(message) == references


def test_acknowledged_messages_are_kept_for_the_retention(embedded: Service, clock: FakeClock) -> None:
    topic = embedded.create_topic(message_retention_duration={"seconds": 900})
    retaining = embedded.create_subscription(
        topic, retain_acked_messages=True, message_retention_duration={"seconds": 600}
    )
    plain = embedded.create_subscription(topic)
    embedded.publish(topic, b"a")
    for subscription in (retaining, plain):
        embedded.acknowledge(subscription, embedded.pull(subscription))
    clock.advance(899)
    embedded.seek(plain, LONG_AGO)
    assert data(embedded.pull(plain)) == [b"a"]
    clock.advance(2)
    late = embedded.create_subscription(topic)
    embedded.seek(late, LONG_AGO)
    assert embedded.pull(late) == []


class TestMessageLog:
    def messages(self, count: int, size: int = 1000) -> list[Message]:
        return [Message(str(number), bytes(size), float(number)) for number in range(count)]

    def test_the_oldest_go_when_it_is_full(self) -> None:
        log = MessageLog(max_bytes=5 * 1300)
        for message in self.messages(20):
            log.add(message)
        assert [message.message_id for message in log.since(0)] == ["15", "16", "17", "18", "19"]

    def test_small_messages_count_with_what_they_take_beside(self) -> None:
        log = MessageLog(max_bytes=3000)
        for message in self.messages(100, size=0):
            log.add(message)
        assert len(log) == 10

    def test_each_is_kept_once(self) -> None:
        log = MessageLog(max_bytes=2 * 1300)
        one, two = self.messages(2)
        for message in (one, one, two, one):
            log.add(message)
        assert log.since(0) == [one, two]
        assert log.take_since(1) == [two]
        assert len(log) == 0
        log.add(two)
        log.add(one)
        assert log.since(0) == [two, one]

    def test_by_time(self) -> None:
        log = MessageLog()
        for message in self.messages(10):
            log.add(message)
        assert [message.message_id for message in log.since(8)] == ["8", "9"]
        log.drop_before(7)
        assert len(log) == 3
