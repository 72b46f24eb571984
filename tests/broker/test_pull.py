"""Pull, Acknowledge and ModifyAckDeadline over the wire."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from google.api_core import exceptions
from google.cloud.pubsub_v1 import SubscriberClient

from broker import EmbeddedBroker
from pipeline.pubsub import protos
from tests.broker.conftest import FakeClock
from tests.waiting import LIMIT_S, wait_until


def pull(subscriber: SubscriberClient, subscription: str, max_messages: int = 10) -> list[tuple[bytes, str]]:
    response = subscriber.pull(subscription=subscription, max_messages=max_messages)
    return [(each.message.data, each.ack_id) for each in response.received_messages]


def test_pull_takes_at_most_what_was_asked_for(
    subscription: str, subscriber: SubscriberClient, publish: Callable[..., list[str]]
) -> None:
    publish(b"a", b"b", b"c")
    assert [data for data, _ in pull(subscriber, subscription, 2)] == [b"a", b"b"]
    assert [data for data, _ in pull(subscriber, subscription, 2)] == [b"c"]


def test_pull_waits_for_a_message(
    subscription: str,
    broker: EmbeddedBroker,
    subscriber: SubscriberClient,
    publish: Callable[..., list[str]],
) -> None:
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(pull, subscriber, subscription)
        wait_until(lambda: broker.stats(subscription).streams == 1)
        publish(b"a")
        assert [data for data, _ in waiting.result(timeout=LIMIT_S)] == [b"a"]


def test_pull_answers_with_none_after_the_wait(
    subscription: str, broker: EmbeddedBroker, subscriber: SubscriberClient
) -> None:
    assert pull(subscriber, subscription) == []
    assert broker.stats(subscription).streams == 0


def test_pull_answers_at_once_when_asked_to() -> None:
    topic, name = "projects/test-project/topics/requests", "projects/test-project/subscriptions/requests"
    # Any waiting at all would outlast the call's own deadline.
    with EmbeddedBroker(pull_wait_s=10 * LIMIT_S) as broker, grpc.insecure_channel(broker.address) as channel:
        for method, request in (
            ("Publisher/CreateTopic", protos.Topic(name=topic)),
            ("Subscriber/CreateSubscription", protos.Subscription(name=name, topic=topic)),
            (
                "Subscriber/Pull",
                protos.PullRequest(subscription=name, max_messages=1, return_immediately=True),
            ),
        ):
            call = channel.unary_unary(
                f"/google.pubsub.v1.{method}", request_serializer=type(request).SerializeToString
            )
            answer = call(request, timeout=LIMIT_S)
        assert answer == b""  # a PullResponse without messages


def test_a_cancelled_pull_takes_nothing(
    subscription: str,
    broker: EmbeddedBroker,
    subscriber: SubscriberClient,
    publish: Callable[..., list[str]],
) -> None:
    with pytest.raises(exceptions.DeadlineExceeded):
        subscriber.pull(subscription=subscription, max_messages=1, timeout=0.05, retry=None)
    wait_until(lambda: broker.stats(subscription).streams == 0)
    publish(b"a")
    assert broker.stats(subscription).backlog == 1


def test_deleting_the_subscription_ends_a_waiting_pull(
    subscription: str, broker: EmbeddedBroker, subscriber: SubscriberClient
) -> None:
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(pull, subscriber, subscription)
        wait_until(lambda: broker.stats(subscription).streams == 1)
        subscriber.delete_subscription(subscription=subscription)
        with pytest.raises(exceptions.NotFound, match="was deleted"):
            waiting.result(timeout=LIMIT_S)


def test_an_unacknowledged_message_is_redelivered_after_its_deadline(
    subscription: str,
    subscriber: SubscriberClient,
    publish: Callable[..., list[str]],
    broker: EmbeddedBroker,
    clock: FakeClock,
) -> None:
    publish(b"a", b"b")
    (_, first), (_, second) = pull(subscriber, subscription)
    subscriber.acknowledge(subscription=subscription, ack_ids=[second])
    clock.advance(9)
    subscriber.modify_ack_deadline(subscription=subscription, ack_ids=[first], ack_deadline_seconds=30)
    clock.advance(29)
    assert pull(subscriber, subscription) == []
    clock.advance(2)
    wait_until(lambda: broker.stats(subscription).backlog == 1)
    ((data, third),) = pull(subscriber, subscription)
    assert data == b"a"
    assert third != first


def test_nack_redelivers_at_once(
    subscription: str, subscriber: SubscriberClient, publish: Callable[..., list[str]]
) -> None:
    publish(b"a")
    ((_, ack_id),) = pull(subscriber, subscription)
    subscriber.modify_ack_deadline(subscription=subscription, ack_ids=[ack_id], ack_deadline_seconds=0)
    assert [data for data, _ in pull(subscriber, subscription)] == [b"a"]


def test_what_is_out_of_range_is_refused(subscription: str, subscriber: SubscriberClient) -> None:
    with pytest.raises(exceptions.InvalidArgument, match="max_messages must be at least 1"):
        subscriber.pull(subscription=subscription, max_messages=0)
    for seconds in (-1, 601):
        with pytest.raises(exceptions.InvalidArgument, match="ack_deadline_seconds must be 0"):
            subscriber.modify_ack_deadline(
                subscription=subscription, ack_ids=["1:1"], ack_deadline_seconds=seconds
            )
    with pytest.raises(exceptions.InvalidArgument, match="ack_ids must name at least one"):
        subscriber.acknowledge(subscription=subscription, ack_ids=[])
    with pytest.raises(exceptions.InvalidArgument, match="ack_ids must name at least one"):
        subscriber.modify_ack_deadline(subscription=subscription, ack_ids=[], ack_deadline_seconds=10)
    with pytest.raises(exceptions.InvalidArgument, match="'nonsense' is not an ack id"):
        subscriber.acknowledge(subscription=subscription, ack_ids=["nonsense"])


def test_a_missing_subscription_is_not_found(subscriber: SubscriberClient) -> None:
    missing = "projects/test-project/subscriptions/missing"
    calls: list[Callable[[], object]] = [
        lambda: subscriber.pull(subscription=missing, max_messages=1),
        lambda: subscriber.acknowledge(subscription=missing, ack_ids=["1:1"]),
        lambda: subscriber.modify_ack_deadline(
            subscription=missing, ack_ids=["1:1"], ack_deadline_seconds=10
        ),
    ]
    for call in calls:
        with pytest.raises(exceptions.NotFound, match="does not exist"):
            call()
