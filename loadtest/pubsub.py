"""The four Pub/Sub calls the driver makes, on raw protocol buffers.

The client library's own publish and subscribe batch, retry and lease behind a queue and several threads: fine
in production, but they hide when a message really left. Its channel is used, for credentials and settings;
the messages are plain protobuf, because a proto-plus message costs several times as much to build.
"""

import os
from dataclasses import dataclass
from typing import Any

import grpc
from google.api_core.gapic_v1.routing_header import to_grpc_metadata
from google.auth.exceptions import DefaultCredentialsError
from google.cloud import pubsub_v1
from google.pubsub_v1 import types

PubsubMessage = types.PubsubMessage.pb()
PublishRequest = types.PublishRequest.pb()
PublishResponse = types.PublishResponse.pb()
AcknowledgeRequest = types.AcknowledgeRequest.pb()
StreamingPullRequest = types.StreamingPullRequest.pb()
StreamingPullResponse = types.StreamingPullResponse.pb()

TRANSIENT = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.CANCELLED,
    }
)
"""Status codes after which the same call may succeed."""

_UNLIMITED = (("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1))


class PubsubError(Exception):
    """Pub/Sub refused in a way that waiting does not mend; the message says what to do."""


@dataclass(frozen=True)
class Calls:
    """Callables of one connection; each takes a raw protobuf request, `timeout` in seconds and `metadata`."""

    publish: Any
    acknowledge: Any
    streaming_pull: Any
    channels: tuple[Any, ...]

    def close(self) -> None:
        """Closes the connections; calls in flight are cancelled."""
        for channel in self.channels:
            channel.close()


def connect() -> Calls:
    """Opens the connections: to PUBSUB_EMULATOR_HOST if it is set, else to Google Cloud.

    Raises:
      PubsubError: when there are no credentials for Google Cloud.
    """
    emulator = os.environ.get("PUBSUB_EMULATOR_HOST")
    if emulator:
        # Not through the client, whose emulator channel keeps gRPC's default limit of 4 MB a response.
        # Apart, so that a flood of results does not hold up what is to be sent.
        options = (*_UNLIMITED, ("grpc.use_local_subchannel_pool", 1))
        sending, receiving = (grpc.insecure_channel(emulator, options=options) for _ in range(2))
    else:
        try:
            sending = pubsub_v1.PublisherClient().transport.grpc_channel
            receiving = pubsub_v1.SubscriberClient().transport.grpc_channel
        except DefaultCredentialsError as error:
            raise PubsubError(
                "no Google Cloud credentials: run `gcloud auth application-default login`, "
                "or set PUBSUB_EMULATOR_HOST to use an emulator"
            ) from error
    return Calls(
        publish=sending.unary_unary(
            "/google.pubsub.v1.Publisher/Publish",
            request_serializer=PublishRequest.SerializeToString,
            response_deserializer=PublishResponse.FromString,
        ),
        acknowledge=receiving.unary_unary(
            "/google.pubsub.v1.Subscriber/Acknowledge",
            request_serializer=AcknowledgeRequest.SerializeToString,
            response_deserializer=bytes,
        ),
        streaming_pull=receiving.stream_stream(
            "/google.pubsub.v1.Subscriber/StreamingPull",
            request_serializer=StreamingPullRequest.SerializeToString,
            response_deserializer=StreamingPullResponse.FromString,
        ),
        channels=(sending, receiving),
    )


def routing(key: str, path: str) -> tuple[tuple[str, str], ...]:
    """Returns the metadata by which Google routes a call, e.g. key "topic" and the path of the topic."""
    return (to_grpc_metadata([(key, path)]),)


def request_message(body: bytes, request_id: str, intended: float, sent: float) -> Any:
    """Returns one request as a raw PubsubMessage; times are epoch seconds."""
    return PubsubMessage(
        data=body,
        attributes={
            "request_id": request_id,
            "intended_time": f"{intended:.6f}",
            "sent_time": f"{sent:.6f}",
            "content-type": "application/json",
        },
    )


def explain(error: grpc.RpcError) -> str:
    """Returns the status code and its details in one line."""
    details = " ".join((error.details() or "").split())
    return f"{error.code().name}: {details}" if details else error.code().name
