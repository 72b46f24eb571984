"""The Pub/Sub calls that the driver makes, on connections of its own.

The client library's own publish and subscribe batch, retry and lease behind a queue and several threads: fine
in production, but they hide when a message really left. Its channel is used, for credentials and settings;
the messages are plain protobuf, because a proto-plus message costs several times as much to build.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import grpc
from google.auth.exceptions import DefaultCredentialsError

from pipeline.pubsub import calls
from pipeline.pubsub.channels import publisher_channel, subscriber_channel
from pipeline.pubsub.protos import Proto, PubsubMessage


class PubsubError(Exception):
    """Pub/Sub refused in a way that waiting does not cure; the message says what to do."""


@dataclass(frozen=True)
class Calls:
    """The calls of the driver (see `pipeline.pubsub.calls`).

    Attributes:
        publish: Takes a PublishRequest.
        acknowledge: Takes an AcknowledgeRequest.
        streaming_pull: Takes an iterator of StreamingPullRequests.
        channels: The connections that they use.
    """

    publish: Any
    acknowledge: Any
    streaming_pull: Any
    channels: tuple[grpc.Channel, ...]

    def close(self) -> None:
        """Close the connections; calls in flight are cancelled."""
        for channel in self.channels:
            channel.close()


def connect() -> Calls:
    """Open the connections: to PUBSUB_EMULATOR_HOST if it is set, else to Google Cloud.

    Raises:
        PubsubError: There are no credentials for Google Cloud.
    """
    try:
        # Apart, so that a flood of results does not hold up what is to be sent.
        sending, receiving = publisher_channel(own_connection=True), subscriber_channel(own_connection=True)
    except DefaultCredentialsError as error:
        raise PubsubError(
            "no Google Cloud credentials: run `gcloud auth application-default login`, "
            "or set PUBSUB_EMULATOR_HOST to use an emulator"
        ) from error
    return Calls(
        publish=calls.publish(sending),
        acknowledge=calls.acknowledge(receiving),
        streaming_pull=calls.streaming_pull(receiving),
        channels=(sending, receiving),
    )


def request_message(body: bytes, request_id: str, intended: float, sent: float) -> Proto:
    """Return one request as a PubsubMessage; times are epoch seconds."""
    message = PubsubMessage(data=body)
    attributes = message.attributes
    # One by one: the constructor takes 3 to 5 µs for all at once.
    attributes["request_id"] = request_id
    attributes["intended_time"] = f"{intended:.6f}"
    attributes["sent_time"] = f"{sent:.6f}"
    attributes["content-type"] = "application/json"
    return message
