"""The raw calls and channels, against the embedded broker."""

from typing import Any

import grpc
import pytest

from pipeline.pubsub import calls, protos
from pipeline.pubsub.channels import (
    publisher_channel,
    publisher_client,
    subscriber_channel,
    subscriber_client,
)
from pipeline.pubsub.limits import MAX_PUBLISH_BYTES
from tests.pipeline.conftest import Pubsub
from tests.waiting import LIMIT_S


def publish(pubsub: Pubsub, channel: grpc.Channel, data: bytes) -> list[str]:
    topic = pubsub.topics.input_topic
    request = protos.PublishRequest(topic=topic, messages=[protos.PubsubMessage(data=data)])
    answer = calls.publish(channel)(request, timeout=LIMIT_S, metadata=calls.routing("topic", topic))
    return list(answer.message_ids)


def pull(pubsub: Pubsub, channel: grpc.Channel) -> tuple[Any, Any]:
    """Return a stream and its first message."""
    first = protos.StreamingPullRequest(
        subscription=pubsub.topics.input_subscription, stream_ack_deadline_seconds=10
    )
    stream = calls.streaming_pull(channel)(iter([first]), timeout=LIMIT_S)
    return stream, next(stream).received_messages[0]


@pytest.mark.parametrize("own_connection", [False, True])
def test_the_largest_message_passes_both_ways(pubsub: Pubsub, own_connection: bool) -> None:
    """GRPC's own limit is 4 MB a response."""
    data = b"x" * (MAX_PUBLISH_BYTES - 1_000)
    (message_id,) = publish(pubsub, publisher_channel(own_connection=own_connection), data)
    stream, received = pull(pubsub, subscriber_channel(own_connection=own_connection))
    assert (received.message.message_id, len(received.message.data)) == (message_id, len(data))
    stream.cancel()


@pytest.mark.parametrize("variable", ["http_proxy", "https_proxy", "grpc_proxy"])
def test_no_proxy_stands_before_an_emulator(
    variable: str, pubsub: Pubsub, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("no_proxy", "NO_PROXY", "no_grpc_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, "http://127.0.0.1:9")  # where nothing listens
    publish(pubsub, publisher_channel(own_connection=True), b"x")
    stream, _ = pull(pubsub, subscriber_channel(own_connection=True))
    stream.cancel()
    publisher_client().publish(pubsub.topics.input_topic, b"x").result(timeout=LIMIT_S)
    with subscriber_client() as client:
        name = pubsub.topics.input_subscription
        assert client.get_subscription(subscription=name, timeout=LIMIT_S).name == name


def test_deadlines_and_acknowledgements(pubsub: Pubsub) -> None:
    channel, name = subscriber_channel(), pubsub.topics.input_subscription
    publish(pubsub, publisher_channel(), b"x")
    stream, received = pull(pubsub, channel)
    calls.modify_ack_deadline(channel)(
        protos.ModifyAckDeadlineRequest(subscription=name, ack_ids=[received.ack_id], ack_deadline_seconds=60)
    )
    assert pubsub.broker.stats(name).outstanding == 1
    calls.acknowledge(channel)(protos.AcknowledgeRequest(subscription=name, ack_ids=[received.ack_id]))
    assert pubsub.broker.stats(name).acknowledged == 1
    stream.cancel()


def test_the_client_publishes_to_the_emulator(pubsub: Pubsub) -> None:
    publisher_client().publish(pubsub.topics.input_topic, b"x").result(timeout=LIMIT_S)
    assert pubsub.broker.stats(pubsub.topics.input_subscription).backlog == 1


def test_names_are_encoded_in_the_routing_header() -> None:
    """As the client library does: a name may hold + and %."""
    assert calls.routing("subscription", "projects/p/subscriptions/a+b%") == (
        ("x-goog-request-params", "subscription=projects/p/subscriptions/a%2Bb%25"),
    )
