"""The calls of Pub/Sub on raw protocol buffers.

Each function returns a callable of gRPC, which takes a request of `protos` (an iterator of them for
`streaming_pull`, bytes for `publish_serialised`), `timeout` in seconds and `metadata`, for which see
`routing`.
"""

from __future__ import annotations

from typing import Any

import grpc
from google.api_core.gapic_v1.routing_header import to_grpc_metadata

from pipeline.pubsub import protos

_PUBLISHER = "/google.pubsub.v1.Publisher"
_SUBSCRIBER = "/google.pubsub.v1.Subscriber"


def publish(channel: grpc.Channel) -> Any:
    """Return the Publish call, which answers with a PublishResponse."""
    return channel.unary_unary(
        f"{_PUBLISHER}/Publish",
        request_serializer=protos.PublishRequest.SerializeToString,
        response_deserializer=protos.PublishResponse.FromString,
    )


def publish_serialised(channel: grpc.Channel) -> Any:
    """Return the Publish call for requests that are serialised already. Its answer is not looked into."""
    return channel.unary_unary(f"{_PUBLISHER}/Publish", request_serializer=bytes, response_deserializer=bytes)


def get_topic(channel: grpc.Channel) -> Any:
    """Return the GetTopic call, which answers with a Topic."""
    return channel.unary_unary(
        f"{_PUBLISHER}/GetTopic",
        request_serializer=protos.GetTopicRequest.SerializeToString,
        response_deserializer=protos.Topic.FromString,
    )


def get_subscription(channel: grpc.Channel) -> Any:
    """Return the GetSubscription call, which answers with a Subscription."""
    return channel.unary_unary(
        f"{_SUBSCRIBER}/GetSubscription",
        request_serializer=protos.GetSubscriptionRequest.SerializeToString,
        response_deserializer=protos.Subscription.FromString,
    )


def acknowledge(channel: grpc.Channel) -> Any:
    """Return the Acknowledge call. Its answer is empty."""
    return channel.unary_unary(
        f"{_SUBSCRIBER}/Acknowledge",
        request_serializer=protos.AcknowledgeRequest.SerializeToString,
        response_deserializer=bytes,
    )


def modify_ack_deadline(channel: grpc.Channel) -> Any:
    """Return the ModifyAckDeadline call. Its answer is empty."""
    return channel.unary_unary(
        f"{_SUBSCRIBER}/ModifyAckDeadline",
        request_serializer=protos.ModifyAckDeadlineRequest.SerializeToString,
        response_deserializer=bytes,
    )


def streaming_pull(channel: grpc.Channel) -> Any:
    """Return the StreamingPull call, which answers with an iterator of StreamingPullResponses."""
    return channel.stream_stream(
        f"{_SUBSCRIBER}/StreamingPull",
        request_serializer=protos.StreamingPullRequest.SerializeToString,
        response_deserializer=protos.StreamingPullResponse.FromString,
    )


def routing(key: str, path: str) -> tuple[tuple[str, str], ...]:
    """Return the metadata by which Google routes a call: `routing("topic", "projects/P/topics/T")`."""
    return (to_grpc_metadata([(key, path)]),)
