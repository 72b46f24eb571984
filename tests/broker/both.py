"""One broker that a test uses, whichever it is: the embedded one, or Google's emulator."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import grpc

from pipeline.pubsub import protos
from tests.waiting import LIMIT_S

PROJECT = "projects/test-project"


@dataclass(frozen=True)
class Service:
    """A broker and the requests that tests send to it, as plain messages.

    Attributes:
        name: `embedded` or `emulator`.
        channel: To it.
        rest_url: Of its REST API.
    """

    name: str
    channel: grpc.Channel
    rest_url: str

    def call(self, method: str, request: Any, response_class: Any = protos.Empty) -> Any:
        """Call `Publisher/…` or `Subscriber/…`; raises what gRPC does."""
        call = self.channel.unary_unary(
            f"/google.pubsub.v1.{method}",
            request_serializer=type(request).SerializeToString,
            response_deserializer=response_class.FromString,
        )
        return call(request, timeout=LIMIT_S)

    def refusal(self, method: str, request: Any) -> tuple[grpc.StatusCode, str]:
        """Return the status and details with which a call is refused."""
        try:
            answer = self.call(method, request)
        except grpc.RpcError as error:
            return error.code(), error.details()
        raise AssertionError(f"not refused: {answer}")

    def create_topic(self, **settings: Any) -> str:
        """Create a topic with a fresh name; return the name."""
        name = f"{PROJECT}/topics/t-{os.urandom(6).hex()}"
        self.call("Publisher/CreateTopic", protos.Topic(name=name, **settings))
        return name

    def create_subscription(self, topic: str, **settings: Any) -> str:
        """Create a subscription with a fresh name; return the name."""
        request = new_subscription(topic, **settings)
        self.call("Subscriber/CreateSubscription", request)
        return str(request.name)

    def get_topic(self, name: str) -> Any:
        return self.call("Publisher/GetTopic", protos.GetTopicRequest(topic=name), protos.Topic)

    def get_subscription(self, name: str) -> Any:
        request = protos.GetSubscriptionRequest(subscription=name)
        return self.call("Subscriber/GetSubscription", request, protos.Subscription)

    def publish(self, topic: str, *payloads: bytes, **fields: Any) -> None:
        """Publish payloads in one call, all with the same other fields."""
        messages = [protos.PubsubMessage(data=payload, **fields) for payload in payloads]
        self.call("Publisher/Publish", protos.PublishRequest(topic=topic, messages=messages))

    def pull(self, subscription: str, max_messages: int = 100) -> list[Any]:
        """Return the messages that are there now."""
        request = protos.PullRequest(
            subscription=subscription, max_messages=max_messages, return_immediately=True
        )
        return list(self.call("Subscriber/Pull", request, protos.PullResponse).received_messages)

    def acknowledge(self, subscription: str, received: Sequence[Any]) -> None:
        ack_ids = [each.ack_id for each in received]
        self.call(
            "Subscriber/Acknowledge", protos.AcknowledgeRequest(subscription=subscription, ack_ids=ack_ids)
        )

    def nack(self, subscription: str, received: Sequence[Any]) -> None:
        ack_ids = [each.ack_id for each in received]
        request = protos.ModifyAckDeadlineRequest(
            subscription=subscription, ack_ids=ack_ids, ack_deadline_seconds=0
        )
        self.call("Subscriber/ModifyAckDeadline", request)

    def seek(self, subscription: str, time: float) -> None:
        """Seek to seconds since the epoch."""
        request = protos.SeekRequest(subscription=subscription)
        request.time.FromNanoseconds(int(time * 1e9))
        self.call("Subscriber/Seek", request)


def new_subscription(topic: str, **settings: Any) -> Any:
    """Return a Subscription with a fresh name."""
    return protos.Subscription(
        name=f"{PROJECT}/subscriptions/s-{os.urandom(6).hex()}", topic=topic, **settings
    )


def data(received: Sequence[Any]) -> list[bytes]:
    """Return the payloads of received messages."""
    return [each.message.data for each in received]
