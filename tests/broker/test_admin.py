"""Topics and subscriptions: create, get, list, delete, and what is refused."""

from collections.abc import Callable
from typing import Any

import pytest
from google.api_core import exceptions
from google.cloud.pubsub_v1 import SubscriberClient
from google.pubsub_v1 import PublisherClient

from tests.broker.conftest import SUBSCRIPTION, TOPIC

PROJECT = "projects/test-project"


def test_a_topic_is_created_found_and_deleted(publisher: PublisherClient) -> None:
    created = publisher.create_topic(request={"name": TOPIC, "labels": {"team": "a"}})
    found = publisher.get_topic(topic=TOPIC)
    assert created == found
    assert (found.name, dict(found.labels)) == (TOPIC, {"team": "a"})
    with pytest.raises(exceptions.AlreadyExists, match="already exists"):
        publisher.create_topic(name=TOPIC)
    publisher.delete_topic(topic=TOPIC)
    with pytest.raises(exceptions.NotFound, match="does not exist"):
        publisher.get_topic(topic=TOPIC)
    with pytest.raises(exceptions.NotFound):
        publisher.delete_topic(topic=TOPIC)


def test_a_subscription_is_created_found_and_deleted(topic: str, subscriber: SubscriberClient) -> None:
    created = subscriber.create_subscription(
        request={"name": SUBSCRIPTION, "topic": topic, "ack_deadline_seconds": 60, "labels": {"team": "a"}}
    )
    found = subscriber.get_subscription(subscription=SUBSCRIPTION)
    assert created == found
    assert (found.topic, found.ack_deadline_seconds, dict(found.labels)) == (topic, 60, {"team": "a"})
    with pytest.raises(exceptions.AlreadyExists, match="already exists"):
        subscriber.create_subscription(name=SUBSCRIPTION, topic=topic)
    subscriber.delete_subscription(subscription=SUBSCRIPTION)
    with pytest.raises(exceptions.NotFound, match="does not exist"):
        subscriber.get_subscription(subscription=SUBSCRIPTION)
    with pytest.raises(exceptions.NotFound):
        subscriber.delete_subscription(subscription=SUBSCRIPTION)


def test_a_recreated_subscription_starts_empty(
    subscription: str, topic: str, subscriber: SubscriberClient, publish: Callable[..., list[str]]
) -> None:
    publish(b"old")
    subscriber.delete_subscription(subscription=subscription)
    subscriber.create_subscription(name=subscription, topic=topic)
    publish(b"new")
    pulled = subscriber.pull(subscription=subscription, max_messages=10)
    assert [each.message.data for each in pulled.received_messages] == [b"new"]


def test_a_subscription_needs_its_topic(subscriber: SubscriberClient) -> None:
    with pytest.raises(exceptions.NotFound, match="CreateTopic"):
        subscriber.create_subscription(name=SUBSCRIPTION, topic=TOPIC)


def test_the_default_ack_deadline_is_ten_seconds(subscription: str, subscriber: SubscriberClient) -> None:
    assert subscriber.get_subscription(subscription=subscription).ack_deadline_seconds == 10


@pytest.mark.parametrize("seconds", [9, 601, -1])
def test_an_ack_deadline_out_of_range_is_refused(
    seconds: int, topic: str, subscriber: SubscriberClient
) -> None:
    with pytest.raises(exceptions.InvalidArgument, match="ack_deadline_seconds must be 10 to 600"):
        subscriber.create_subscription(
            request={"name": SUBSCRIPTION, "topic": topic, "ack_deadline_seconds": seconds}
        )


def test_malformed_names_are_refused(publisher: PublisherClient, subscriber: SubscriberClient) -> None:
    for call in (
        lambda: publisher.create_topic(name="requests"),
        lambda: publisher.get_topic(topic="projects//topics/requests"),
        lambda: publisher.publish(topic="requests", messages=[{"data": b"x"}]),
        lambda: list(publisher.list_topics(project="test-project")),
        lambda: subscriber.create_subscription(name="projects/test-project/subscriptions/ab", topic=TOPIC),
        lambda: subscriber.pull(subscription=TOPIC, max_messages=1),
        lambda: list(subscriber.list_subscriptions(project="test-project")),
    ):
        with pytest.raises(exceptions.InvalidArgument):
            call()


def test_deleting_a_topic_keeps_its_subscriptions_and_their_backlog(
    subscription: str,
    topic: str,
    publisher: PublisherClient,
    subscriber: SubscriberClient,
    publish: Callable[..., list[str]],
) -> None:
    publish(b"kept")
    publisher.delete_topic(topic=topic)
    assert subscriber.get_subscription(subscription=subscription).topic == "_deleted-topic_"
    publisher.create_topic(name=topic)
    publish(b"not for the old subscription")
    pulled = subscriber.pull(subscription=subscription, max_messages=10)
    assert [each.message.data for each in pulled.received_messages] == [b"kept"]
    subscriber.delete_subscription(subscription=subscription)


def test_lists_are_sorted_and_come_in_pages(publisher: PublisherClient, subscriber: SubscriberClient) -> None:
    topics = [f"{PROJECT}/topics/topic-{number}" for number in range(5)]
    subscriptions = [f"{PROJECT}/subscriptions/sub-{number}" for number in range(5)]
    for name in reversed(topics):
        publisher.create_topic(name=name)
    publisher.create_topic(name="projects/test-project-2/topics/other")
    for name in reversed(subscriptions):
        subscriber.create_subscription(name=name, topic=topics[0])

    for size in (0, 1, 2, 5, 6):
        request = {"project": PROJECT, "page_size": size}
        assert [topic.name for topic in publisher.list_topics(request=request)] == topics
        assert [each.name for each in subscriber.list_subscriptions(request=request)] == subscriptions
        assert (
            list(publisher.list_topic_subscriptions(request={"topic": topics[0], "page_size": size}))
            == subscriptions
        )
    pages = list(publisher.list_topics(request={"project": PROJECT, "page_size": 2}).pages)
    assert [len(page.topics) for page in pages] == [2, 2, 1]
    assert list(publisher.list_topic_subscriptions(topic=topics[1])) == []


@pytest.mark.parametrize(
    ("arguments", "reason"), [({"page_size": -1}, "page_size"), ({"page_token": "x"}, "page_token")]
)
def test_bad_paging_is_refused(arguments: dict[str, Any], reason: str, publisher: PublisherClient) -> None:
    with pytest.raises(exceptions.InvalidArgument, match=reason):
        publisher.list_topics(request={"project": PROJECT, **arguments})


@pytest.mark.parametrize(
    "fields",
    [
        {"kms_key_name": "key"},
        {"schema_settings": {"schema": f"{PROJECT}/schemas/s"}},
        {"message_storage_policy": {"allowed_persistence_regions": ["europe-west1"]}},
        {"ingestion_data_source_settings": {"aws_kinesis": {"stream_arn": "arn"}}},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_topic_settings_that_would_do_nothing_are_refused(
    fields: dict[str, Any], publisher: PublisherClient
) -> None:
    (name,) = fields
    with pytest.raises(exceptions.MethodNotImplemented, match=rf"Topic\.{name} is not supported"):
        publisher.create_topic(request={"name": TOPIC, **fields})
    with pytest.raises(exceptions.NotFound):
        publisher.get_topic(topic=TOPIC)


@pytest.mark.parametrize(
    "fields",
    [
        {"enable_exactly_once_delivery": True},
        {"push_config": {"push_endpoint": "https://example.com/push"}},
        {"bigquery_config": {"table": "p.d.t"}},
        {"cloud_storage_config": {"bucket": "b"}},
        {"retry_policy": {}},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_subscription_settings_that_would_do_nothing_are_refused(
    fields: dict[str, Any], topic: str, subscriber: SubscriberClient
) -> None:
    (name,) = fields
    with pytest.raises(exceptions.MethodNotImplemented, match=rf"Subscription\.{name} is not supported"):
        subscriber.create_subscription(request={"name": SUBSCRIPTION, "topic": topic, **fields})
    with pytest.raises(exceptions.NotFound):
        subscriber.get_subscription(subscription=SUBSCRIPTION)


def test_methods_that_are_missing_say_so(subscription: str, subscriber: SubscriberClient) -> None:
    with pytest.raises(exceptions.MethodNotImplemented, match=r"does not implement .*CreateSnapshot"):
        subscriber.create_snapshot(name=f"{PROJECT}/snapshots/snap", subscription=subscription)
    with pytest.raises(exceptions.MethodNotImplemented, match=r"SeekRequest\.snapshot is not supported"):
        subscriber.seek(request={"subscription": subscription, "snapshot": f"{PROJECT}/snapshots/snap"})
