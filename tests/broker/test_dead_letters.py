"""Dead-letter policies: attempts counted, messages forwarded."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from google.protobuf.field_mask_pb2 import FieldMask

from broker import EmbeddedBroker
from pipeline.pubsub import protos
from tests.broker.both import PROJECT, Service, data
from tests.broker.conftest import FakeClock
from tests.waiting import wait_until


def with_policy(service: Service, attempts: int = 5) -> tuple[str, str, str, str]:
    """Return a topic, its subscription with a policy, the dead-letter topic and its subscription."""
    topic, dead = service.create_topic(), service.create_topic()
    policy = {"dead_letter_topic": dead, "max_delivery_attempts": attempts}
    return (
        topic,
        service.create_subscription(topic, dead_letter_policy=policy),
        dead,
        service.create_subscription(dead),
    )


def attempts_until_gone(service: Service, subscription: str) -> list[int]:
    """Nack all that comes; return the delivery attempts of each pull's first message."""
    attempts = []
    while received := service.pull(subscription):
        attempts.append(received[0].delivery_attempt)
        service.nack(subscription, received)
    return attempts


def test_without_a_policy_nothing_is_counted(service: Service) -> None:
    topic = service.create_topic()
    subscription = service.create_subscription(topic)
    service.publish(topic, b"a")
    for _ in range(7):
        (received,) = service.pull(subscription)
        assert received.delivery_attempt == 0
        service.nack(subscription, [received])


def test_a_message_that_fails_too_often_is_forwarded(service: Service) -> None:
    topic, subscription, _, dead_subscription = with_policy(service, attempts=6)
    service.publish(topic, b"poison", attributes={"k": "v"})
    assert attempts_until_gone(service, subscription) == [1, 2, 3, 4, 5, 6]
    # The emulator forwards in the background.
    received: list[Any] = []

    def arrived() -> bool:
        received.extend(service.pull(dead_subscription))
        return bool(received)

    wait_until(arrived)
    (forwarded,) = received
    assert forwarded.message.data == b"poison"
    attributes = dict(forwarded.message.attributes)
    published = attributes.pop("CloudPubSubDeadLetterSourceTopicPublishTime")
    assert datetime.fromisoformat(published).tzinfo is not None
    assert attributes == {
        "k": "v",
        "CloudPubSubDeadLetterSourceDeliveryCount": "6",
        "CloudPubSubDeadLetterSourceSubscription": subscription.rpartition("/")[2],
        "CloudPubSubDeadLetterSourceSubscriptionProject": PROJECT.removeprefix("projects/"),
    }


def test_what_is_acknowledged_is_not_forwarded(service: Service) -> None:
    topic, subscription, _, dead_subscription = with_policy(service)
    service.publish(topic, b"a")
    for _ in range(4):
        service.nack(subscription, service.pull(subscription))
    (received,) = service.pull(subscription)
    assert received.delivery_attempt == 5
    service.acknowledge(subscription, [received])
    assert service.pull(subscription) == service.pull(dead_subscription) == []


def test_each_message_is_counted_for_itself(service: Service) -> None:
    topic, subscription, _, _ = with_policy(service)
    service.publish(topic, b"old")
    service.nack(subscription, service.pull(subscription))
    service.publish(topic, b"new")
    received = {each.message.data: each.delivery_attempt for each in service.pull(subscription)}
    assert received == {b"old": 2, b"new": 1}


def test_while_the_dead_letter_topic_is_gone_a_message_comes_again(service: Service) -> None:
    topic, subscription, dead, _ = with_policy(service)
    service.call("Publisher/DeleteTopic", protos.DeleteTopicRequest(topic=dead))
    service.publish(topic, b"a")
    for attempt in range(1, 8):
        (received,) = service.pull(subscription)
        assert received.delivery_attempt == attempt
        service.nack(subscription, [received])


def test_a_missed_ack_deadline_counts(embedded: Service, broker: EmbeddedBroker, clock: FakeClock) -> None:
    topic, subscription, _, dead_subscription = with_policy(embedded)
    embedded.publish(topic, b"a")
    for attempt in range(1, 6):
        assert [each.delivery_attempt for each in embedded.pull(subscription)] == [attempt]
        clock.advance(11)
        wait_until(lambda: not broker.stats(subscription).outstanding)
    assert embedded.pull(subscription) == []
    assert data(embedded.pull(dead_subscription)) == [b"a"]


def test_what_is_done_with_is_counted_anew(embedded: Service) -> None:
    dead = embedded.create_topic()
    topic = embedded.create_topic()
    policy = {"dead_letter_topic": dead}
    subscription = embedded.create_subscription(topic, dead_letter_policy=policy, retain_acked_messages=True)
    embedded.publish(topic, b"a")
    embedded.nack(subscription, embedded.pull(subscription))
    embedded.acknowledge(subscription, embedded.pull(subscription))
    embedded.seek(subscription, 0)
    (received,) = embedded.pull(subscription)
    assert received.delivery_attempt == 1


def test_a_changed_number_of_attempts_counts_at_once(embedded: Service) -> None:
    topic, subscription, dead, _ = with_policy(embedded, attempts=20)
    embedded.publish(topic, b"a")
    for _ in range(5):
        embedded.nack(subscription, embedded.pull(subscription))
    policy = {"dead_letter_topic": dead, "max_delivery_attempts": 7}
    request = protos.UpdateSubscriptionRequest(
        subscription=protos.Subscription(name=subscription, dead_letter_policy=policy),
        update_mask=FieldMask(paths=["dead_letter_policy"]),
    )
    embedded.call("Subscriber/UpdateSubscription", request)
    assert attempts_until_gone(embedded, subscription) == [6, 7]


def test_a_dead_letter_topic_may_be_the_topic_itself(embedded: Service) -> None:
    topic = embedded.create_topic()
    subscription = embedded.create_subscription(topic, dead_letter_policy={"dead_letter_topic": topic})
    embedded.publish(topic, b"a")
    for attempt in (1, 2, 3, 4, 5, 1):
        (received,) = embedded.pull(subscription)
        assert received.delivery_attempt == attempt
        embedded.nack(subscription, [received])


def test_a_policy_that_is_set_later_counts_from_then_on(embedded: Service) -> None:
    topic, dead = embedded.create_topic(), embedded.create_topic()
    subscription = embedded.create_subscription(topic)
    embedded.publish(topic, b"a")
    embedded.nack(subscription, embedded.pull(subscription))
    request = protos.UpdateSubscriptionRequest(
        subscription=protos.Subscription(name=subscription, dead_letter_policy={"dead_letter_topic": dead}),
        update_mask=FieldMask(paths=["dead_letter_policy"]),
    )
    embedded.call("Subscriber/UpdateSubscription", request)
    assert attempts_until_gone(embedded, subscription) == [1, 2, 3, 4, 5]
