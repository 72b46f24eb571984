"""Connections to Pub/Sub that take the largest messages there are, with an emulator as with the service.

All of them go to the emulator at PUBSUB_EMULATOR_HOST where that is set. Else they need credentials of Google
Cloud, and raise `google.auth.exceptions.DefaultCredentialsError` without them.
"""

from __future__ import annotations

import os

import grpc
from google.cloud import pubsub_v1
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport

# The library's own emulator channel keeps gRPC's default of 4 MB a response: one larger message would break
# the stream at each delivery, and nothing behind it would be read any more.
_UNLIMITED = (("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1))
# An emulator is on this machine or beside it. Else gRPC goes through the proxy that http_proxy names.
_NO_PROXY = (("grpc.enable_http_proxy", 0),)
# Else gRPC has all channels of a process to one address share a connection.
_OWN_CONNECTION = (("grpc.use_local_subchannel_pool", 1),)


def subscriber_channel(*, own_connection: bool = False) -> grpc.Channel:
    """Open a channel for reading; `own_connection` keeps it apart from other channels to an emulator."""
    return _emulator_channel(own_connection) or pubsub_v1.SubscriberClient().transport.grpc_channel


def publisher_channel(*, own_connection: bool = False) -> grpc.Channel:
    """Open a channel for publishing; `own_connection` keeps it apart from other channels to an emulator."""
    return _emulator_channel(own_connection) or pubsub_v1.PublisherClient().transport.grpc_channel


def publisher_client() -> pubsub_v1.PublisherClient:
    """Create a client for publishing."""
    channel = _emulator_channel(own_connection=False)
    if channel is None:
        return pubsub_v1.PublisherClient()
    return pubsub_v1.PublisherClient(transport=PublisherGrpcTransport(channel=channel))


def subscriber_client() -> pubsub_v1.SubscriberClient:
    """Create a client for subscriptions."""
    channel = _emulator_channel(own_connection=False)
    if channel is None:
        return pubsub_v1.SubscriberClient()
    return pubsub_v1.SubscriberClient(transport=SubscriberGrpcTransport(channel=channel))


def _emulator_channel(own_connection: bool) -> grpc.Channel | None:
    host = os.environ.get("PUBSUB_EMULATOR_HOST")
    if not host:
        return None
    options = (*_UNLIMITED, *_NO_PROXY, *(_OWN_CONNECTION if own_connection else ()))
    return grpc.insecure_channel(host, options=options)
