"""Settings of topics and subscriptions: kept, completed, changed, refused.

Where a test takes `embedded` alone, Google's emulator (0.8.20) does not do what the reference documents: it
fills in neither `state` nor the default expiration policy, takes any ttl, refuses more than seven days of
retention in a subscription, and changes neither labels nor expiration.
"""

from __future__ import annotations

import logging
import os
from typing import Any

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from broker import EmbeddedBroker
from pipeline.pubsub import protos
from tests.broker.both import PROJECT, Service, data, new_subscription
from tests.broker.conftest import FakeClock
from tests.waiting import wait_until

DAY_S = 24 * 60 * 60
INVALID = grpc.StatusCode.INVALID_ARGUMENT
# The emulator calls some of it out of range; the HTTP status is 400 either way.
REFUSED = (INVALID, grpc.StatusCode.OUT_OF_RANGE)


def update_subscription(name: str, *paths: str, **changes: Any) -> Any:
    return protos.UpdateSubscriptionRequest(
        subscription=protos.Subscription(name=name, **changes), update_mask=FieldMask(paths=paths)
    )


def update_topic(name: str, *paths: str, **changes: Any) -> Any:
    return protos.UpdateTopicRequest(
        topic=protos.Topic(name=name, **changes), update_mask=FieldMask(paths=paths)
    )


def test_defaults_are_filled_in(service: Service) -> None:
    found = service.get_subscription(service.create_subscription(service.create_topic()))
    assert found.ack_deadline_seconds == 10
    assert found.HasField("push_config")
    assert found.message_retention_duration.seconds == 7 * DAY_S
    assert not found.retain_acked_messages
    assert not found.HasField("dead_letter_policy")


def test_state_and_expiration_are_filled_in(embedded: Service) -> None:
    topic = embedded.create_topic()
    found = embedded.get_subscription(embedded.create_subscription(topic))
    assert found.state == protos.Subscription.State.ACTIVE
    assert found.expiration_policy.ttl.seconds == 31 * DAY_S
    assert embedded.get_topic(topic).state == protos.Topic.State.ACTIVE


@pytest.mark.parametrize(
    "settings",
    [
        # What kombu sends.
        {
            "ack_deadline_seconds": 240,
            "expiration_policy": {"ttl": {"seconds": DAY_S}},
            "message_retention_duration": {"seconds": 7 * DAY_S},
        },
        {"expiration_policy": {}},
        {"retain_acked_messages": True, "message_retention_duration": {"seconds": 600}},
        {"enable_message_ordering": True},
        {"filter": 'attributes.a = "b"'},
        {"push_config": {}},
    ],
    ids=lambda settings: "+".join(settings),
)
def test_settings_read_back_as_they_were_set(settings: dict[str, Any], service: Service) -> None:
    topic = service.create_topic()
    found = service.get_subscription(service.create_subscription(topic, **settings))
    wanted = protos.Subscription(**settings)
    for field in settings:
        assert getattr(found, field) == getattr(wanted, field)
        assert field in [each.name for each, _ in found.ListFields()]


def test_the_longest_retention(embedded: Service) -> None:
    settings = {"message_retention_duration": {"seconds": 31 * DAY_S}}
    topic = embedded.create_topic(**settings)
    found = embedded.get_subscription(embedded.create_subscription(topic, **settings))
    assert found.message_retention_duration.seconds == 31 * DAY_S


def test_what_a_topic_keeps_shows_in_its_subscriptions(embedded: Service) -> None:
    topic = embedded.create_topic(message_retention_duration={"seconds": 600}, labels={"a": "b"})
    assert embedded.get_topic(topic).message_retention_duration.seconds == 600
    assert dict(embedded.get_topic(topic).labels) == {"a": "b"}
    name = embedded.create_subscription(topic, topic_message_retention_duration={"seconds": 5})
    assert embedded.get_subscription(name).topic_message_retention_duration.seconds == 600
    embedded.call("Publisher/DeleteTopic", protos.DeleteTopicRequest(topic=topic))
    assert not embedded.get_subscription(name).HasField("topic_message_retention_duration")


def test_a_dead_letter_policy_is_completed(service: Service) -> None:
    topic, dead = service.create_topic(), service.create_topic()
    name = service.create_subscription(topic, dead_letter_policy={"dead_letter_topic": dead})
    assert service.get_subscription(name).dead_letter_policy.max_delivery_attempts == 5


@pytest.mark.parametrize("retention_s", [0, 599, 31 * DAY_S + 1])
def test_a_retention_out_of_range_is_refused(retention_s: int, service: Service) -> None:
    topic = service.create_topic()
    settings = {"message_retention_duration": {"seconds": retention_s}}
    code, details = service.refusal("Subscriber/CreateSubscription", new_subscription(topic, **settings))
    assert code in REFUSED
    assert "message_retention_duration" in details
    code, _ = service.refusal(
        "Publisher/CreateTopic", protos.Topic(name=f"{PROJECT}/topics/never", **settings)
    )
    assert code in REFUSED


@pytest.mark.parametrize("attempts", [4, 101, -1])
def test_delivery_attempts_out_of_range_are_refused(attempts: int, service: Service) -> None:
    policy = {"dead_letter_topic": service.create_topic(), "max_delivery_attempts": attempts}
    request = new_subscription(service.create_topic(), dead_letter_policy=policy)
    code, details = service.refusal("Subscriber/CreateSubscription", request)
    assert code in REFUSED
    assert "max_delivery_attempts" in details


def test_a_dead_letter_topic_must_exist(service: Service) -> None:
    policy = {"dead_letter_topic": f"{PROJECT}/topics/missing"}
    request = new_subscription(service.create_topic(), dead_letter_policy=policy)
    code, _ = service.refusal("Subscriber/CreateSubscription", request)
    assert code is grpc.StatusCode.NOT_FOUND


def test_a_ttl_of_less_than_a_day_is_refused(embedded: Service) -> None:
    request = new_subscription(embedded.create_topic(), expiration_policy={"ttl": {"seconds": DAY_S - 1}})
    code, details = embedded.refusal("Subscriber/CreateSubscription", request)
    assert (code, "ttl must be at least 86400 seconds" in details) == (INVALID, True)


def test_settings_are_changed_by_a_mask(service: Service) -> None:
    topic, dead = service.create_topic(), service.create_topic()
    policy = {"dead_letter_topic": dead, "max_delivery_attempts": 7}
    name = service.create_subscription(topic, retain_acked_messages=True)
    request = update_subscription(
        name,
        "ack_deadline_seconds",
        "message_retention_duration",
        "dead_letter_policy",
        ack_deadline_seconds=60,
        message_retention_duration={"seconds": 1200},
        dead_letter_policy=policy,
        retain_acked_messages=False,  # not in the mask
    )
    answer = service.call("Subscriber/UpdateSubscription", request, protos.Subscription)
    found = service.get_subscription(name)
    assert answer == found
    assert (found.ack_deadline_seconds, found.message_retention_duration.seconds) == (60, 1200)
    assert found.dead_letter_policy == protos.Subscription(dead_letter_policy=policy).dead_letter_policy
    assert found.retain_acked_messages
    # A field that the request leaves unset is set back to its default.
    request = update_subscription(name, "ack_deadline_seconds", "dead_letter_policy", "retain_acked_messages")
    service.call("Subscriber/UpdateSubscription", request)
    found = service.get_subscription(name)
    assert (found.ack_deadline_seconds, found.retain_acked_messages) == (10, False)
    assert not found.HasField("dead_letter_policy")
    assert found.message_retention_duration.seconds == 1200


def test_labels_and_expiration_are_changed(embedded: Service) -> None:
    topic = embedded.create_topic(labels={"old": "1"})
    name = embedded.create_subscription(topic, labels={"old": "1"})
    request = update_subscription(
        name, "labels", "expiration_policy", labels={"new": "2"}, expiration_policy={}
    )
    embedded.call("Subscriber/UpdateSubscription", request)
    found = embedded.get_subscription(name)
    assert dict(found.labels) == {"new": "2"}
    assert found.HasField("expiration_policy")
    assert not found.expiration_policy.HasField("ttl")
    embedded.call("Subscriber/UpdateSubscription", update_subscription(name, "labels", "expiration_policy"))
    found = embedded.get_subscription(name)
    assert (dict(found.labels), found.expiration_policy.ttl.seconds) == ({}, 31 * DAY_S)
    embedded.call("Publisher/UpdateTopic", update_topic(topic, "labels", labels={"new": "2"}))
    assert dict(embedded.get_topic(topic).labels) == {"new": "2"}


def test_the_retention_of_a_topic_is_changed(service: Service) -> None:
    topic = service.create_topic()
    request = update_topic(topic, "message_retention_duration", message_retention_duration={"seconds": 700})
    service.call("Publisher/UpdateTopic", request)
    assert service.get_topic(topic).message_retention_duration.seconds == 700


@pytest.mark.parametrize(
    ("paths", "named"),
    [
        ((), "update_mask"),
        (("topic",), "topic"),
        (("enable_message_ordering",), "enable_message_ordering"),
        (("filter",), "filter"),
        (("name",), "name"),
        (("nonsense",), "nonsense"),
        (("dead_letter_policy.max_delivery_attempts",), "dead_letter_policy.max_delivery_attempts"),
    ],
)
def test_a_bad_mask_is_refused(paths: tuple[str, ...], named: str, service: Service) -> None:
    name = service.create_subscription(service.create_topic())
    code, details = service.refusal("Subscriber/UpdateSubscription", update_subscription(name, *paths))
    assert code is INVALID
    assert named in details
    assert "filter" not in paths or not service.get_subscription(name).filter


def test_an_update_is_checked_like_a_creation(embedded: Service) -> None:
    name = embedded.create_subscription(embedded.create_topic())
    before = embedded.get_subscription(name)
    for changes, code in (
        ({"ack_deadline_seconds": 5}, INVALID),
        ({"message_retention_duration": {"seconds": 5}}, INVALID),
        (
            {"dead_letter_policy": {"dead_letter_topic": f"{PROJECT}/topics/missing"}},
            grpc.StatusCode.NOT_FOUND,
        ),
        ({"push_config": {"push_endpoint": "https://example.com"}}, grpc.StatusCode.UNIMPLEMENTED),
        ({"retry_policy": {}}, grpc.StatusCode.UNIMPLEMENTED),
    ):
        request = update_subscription(name, *changes, **changes)
        assert embedded.refusal("Subscriber/UpdateSubscription", request)[0] is code
    assert embedded.get_subscription(name) == before


def test_what_is_not_there_is_not_updated(service: Service) -> None:
    missing = update_subscription(f"{PROJECT}/subscriptions/missing", "retain_acked_messages")
    assert service.refusal("Subscriber/UpdateSubscription", missing)[0] is grpc.StatusCode.NOT_FOUND


def test_a_changed_ack_deadline_counts_from_the_next_pull(
    embedded: Service, broker: EmbeddedBroker, clock: FakeClock
) -> None:
    topic = embedded.create_topic()
    name = embedded.create_subscription(topic)
    request = update_subscription(name, "ack_deadline_seconds", ack_deadline_seconds=60)
    embedded.call("Subscriber/UpdateSubscription", request)
    embedded.publish(topic, b"a")
    assert data(embedded.pull(name)) == [b"a"]
    clock.advance(59)
    assert embedded.pull(name) == []
    clock.advance(2)
    wait_until(lambda: broker.stats(name).backlog == 1)


def test_a_subscription_expires_when_it_is_left_alone(
    embedded: Service, broker: EmbeddedBroker, clock: FakeClock
) -> None:
    topic = embedded.create_topic()
    day = embedded.create_subscription(topic, expiration_policy={"ttl": {"seconds": DAY_S}})
    never = embedded.create_subscription(topic, expiration_policy={})

    def subscriptions() -> list[str]:
        request = protos.ListTopicSubscriptionsRequest(topic=topic)
        found = embedded.call(
            "Publisher/ListTopicSubscriptions", request, protos.ListTopicSubscriptionsResponse
        )
        return list(found.subscriptions)

    clock.advance(DAY_S - 1)
    embedded.pull(day)
    clock.advance(DAY_S - 1)
    assert subscriptions() == sorted([day, never])
    clock.advance(2)
    wait_until(lambda: subscriptions() == [never])
    clock.advance(400 * DAY_S)
    embedded.publish(topic, b"still there")
    assert data(embedded.pull(never)) == [b"still there"]


def test_any_project_id_is_taken_with_one_warning(
    embedded: Service, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        for project in ("test", "my_project", "My Project!", "test", "good-project"):
            for _ in range(2):
                name = f"projects/{project}/topics/t-{os.urandom(4).hex()}"
                embedded.call("Publisher/CreateTopic", protos.Topic(name=name))
    warned = [record.getMessage() for record in caplog.records if record.name == "broker.state"]
    assert [text.split("'")[1] for text in warned] == ["test", "my_project", "My Project!"]
