"""Connections to Pub/Sub that take the largest messages there are, with an emulator as with the service."""

from __future__ import annotations

import os

import grpc
from google.cloud import pubsub_v1
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport


def subscriber_channel() -> grpc.Channel:
    """A channel for reading; to the emulator at PUBSUB_EMULATOR_HOST where that is set."""
    return _emulator_channel() or pubsub_v1.SubscriberClient().transport.grpc_channel


def publisher_client() -> pubsub_v1.PublisherClient:
    """A client for publishing; of the emulator at PUBSUB_EMULATOR_HOST where that is set."""
    channel = _emulator_channel()
    if channel is None:
        return pubsub_v1.PublisherClient()
    return pubsub_v1.PublisherClient(transport=PublisherGrpcTransport(channel=channel))


def _emulator_channel() -> grpc.Channel | None:
    host = os.environ.get("PUBSUB_EMULATOR_HOST")
    if not host:
        return None
    # The library's own emulator channel keeps gRPC's default of 4 MB a response: one larger message would
    # break the stream at each delivery, and nothing behind it would be read any more.
    unlimited = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
    return grpc.insecure_channel(host, options=unlimited)
