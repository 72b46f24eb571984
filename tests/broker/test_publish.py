"""What Publish accepts, refuses and stamps."""

import math
from collections.abc import Callable
from typing import Any

import pytest
from google.api_core import exceptions
from google.cloud import pubsub_v1
from google.pubsub_v1 import PublisherClient

from broker import EmbeddedBroker
from tests.broker.conftest import FakeClock
from tests.waiting import LIMIT_S


def test_a_message_arrives_as_it_was_sent(
    subscription: str,
    topic: str,
    publisher: PublisherClient,
    subscriber: pubsub_v1.SubscriberClient,
    clock: FakeClock,
) -> None:
    data, attributes = bytes(range(256)), {"request_id": "r-1", "größe": "ä" * 100}
    # What a client claims about id and time does not count.
    sent = {"data": data, "attributes": attributes, "message_id": "mine", "publish_time": {"seconds": 1}}
    (message_id,) = publisher.publish(topic=topic, messages=[sent]).message_ids
    (received,) = subscriber.pull(subscription=subscription, max_messages=10).received_messages
    message = received.message
    assert (message.data, dict(message.attributes), message.message_id) == (data, attributes, message_id)
    assert message_id.isdecimal()
    assert math.isclose(message.publish_time.timestamp(), clock.now, abs_tol=1e-5)
    assert received.delivery_attempt == 0


def test_message_ids_are_distinct_and_in_the_order_sent(
    subscription: str, subscriber: pubsub_v1.SubscriberClient, publish: Callable[..., list[str]]
) -> None:
    published = publish(b"a", b"b", b"c") + publish(b"d")
    assert len(set(published)) == 4
    pulled = subscriber.pull(subscription=subscription, max_messages=10).received_messages
    assert [(each.message.message_id, each.message.data) for each in pulled] == list(
        zip(published, [b"a", b"b", b"c", b"d"], strict=True)
    )


def test_every_subscription_gets_every_message(
    topic: str, subscriber: pubsub_v1.SubscriberClient, publish: Callable[..., list[str]]
) -> None:
    names = [f"projects/test-project/subscriptions/sub-{number}" for number in range(3)]
    for name in names:
        subscriber.create_subscription(name=name, topic=topic)
    published = publish(b"a", b"b")
    for name in names:
        received = subscriber.pull(subscription=name, max_messages=10).received_messages
        assert [each.message.message_id for each in received] == published
        # An ack id of one subscription does nothing to another.
        subscriber.acknowledge(subscription=names[0], ack_ids=[each.ack_id for each in received])


def test_acknowledging_in_one_subscription_leaves_the_others(
    topic: str,
    broker: EmbeddedBroker,
    subscriber: pubsub_v1.SubscriberClient,
    publish: Callable[..., list[str]],
) -> None:
    one, two = (f"projects/test-project/subscriptions/sub-{number}" for number in range(2))
    for name in (one, two):
        subscriber.create_subscription(name=name, topic=topic)
    publish(b"a")
    (received,) = subscriber.pull(subscription=one, max_messages=1).received_messages
    subscriber.pull(subscription=two, max_messages=1)
    subscriber.acknowledge(subscription=two, ack_ids=[received.ack_id])
    assert (broker.stats(one).outstanding, broker.stats(two).outstanding) == (1, 1)
    subscriber.acknowledge(subscription=one, ack_ids=[received.ack_id])
    assert (broker.stats(one).outstanding, broker.stats(two).outstanding) == (0, 1)


def test_a_topic_must_exist(publisher: PublisherClient) -> None:
    with pytest.raises(exceptions.NotFound, match="CreateTopic"):
        publisher.publish(topic="projects/test-project/topics/missing", messages=[{"data": b"x"}])


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ({}, r"messages\[1\] is empty"),
        ({"attributes": {"googclient": "x"}}, "must not start with 'goog'"),
        ({"attributes": {f"k{number}": "v" for number in range(101)}}, "101 attributes; at most 100"),
        ({"attributes": {"k" * 257: "v"}}, "257 bytes; at most 256"),
        ({"attributes": {"ä" * 129: "v"}}, "258 bytes; at most 256"),
        ({"attributes": {"key": "v" * 1025}}, "1025 bytes; at most 1024"),
        ({"attributes": {"key": "€" * 342}}, "1026 bytes; at most 1024"),
        ({"data": bytes(10_000_000)}, "at most 10,000,000 bytes"),
    ],
)
def test_a_bad_message_refuses_the_whole_request(
    message: dict[str, Any],
    reason: str,
    topic: str,
    subscription: str,
    broker: EmbeddedBroker,
    publisher: PublisherClient,
) -> None:
    with pytest.raises(exceptions.InvalidArgument, match=reason):
        publisher.publish(topic=topic, messages=[{"data": b"good"}, message])
    assert broker.stats(subscription).backlog == 0


@pytest.mark.parametrize(("count", "reason"), [(0, "at least one message"), (1001, "at most 1000 messages")])
def test_a_bad_count_of_messages_is_refused(
    count: int, reason: str, topic: str, publisher: PublisherClient
) -> None:
    with pytest.raises(exceptions.InvalidArgument, match=reason):
        publisher.publish(topic=topic, messages=[{"data": b"x"}] * count)


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        (["a", "b"], r"messages\[1\] has the ordering key 'b' and messages\[0\] 'a'"),
        (["", "b"], r"messages\[1\] has the ordering key 'b'"),
        (["ä" * 513], "at most 1024 bytes; it has 1026"),
    ],
)
def test_a_bad_ordering_key_is_refused(
    keys: list[str], reason: str, topic: str, publisher: PublisherClient
) -> None:
    with pytest.raises(exceptions.InvalidArgument, match=reason):
        publisher.publish(topic=topic, messages=[{"data": b"x", "ordering_key": key} for key in keys])


def test_the_largest_that_is_allowed_passes(
    topic: str, subscription: str, publisher: PublisherClient, subscriber: pubsub_v1.SubscriberClient
) -> None:
    attributes = {f"{number:0256d}": "v" * 1024 for number in range(100)}
    data = bytes(9_860_000)
    publisher.publish(topic=topic, messages=[{"data": data, "attributes": attributes}])
    publisher.publish(topic=topic, messages=[{"attributes": {"only": "attributes"}}] * 1000)
    (large,) = subscriber.pull(subscription=subscription, max_messages=1).received_messages
    assert large.message.data == data
    assert dict(large.message.attributes) == attributes
    assert len(subscriber.pull(subscription=subscription, max_messages=1000).received_messages) == 1000


def test_the_clients_own_batching_publisher_works(
    broker: EmbeddedBroker, topic: str, subscription: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", broker.address)
    with pubsub_v1.PublisherClient() as client:
        futures = [client.publish(topic, b"x", n=str(number)) for number in range(50)]
        assert len({future.result(timeout=LIMIT_S) for future in futures}) == 50
    assert broker.stats(subscription).backlog == 50
