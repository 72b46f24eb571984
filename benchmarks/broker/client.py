"""The client of `benchmarks.broker`: it publishes on a schedule and receives in two ways.

It publishes what is due every few milliseconds with one low-level Publish call, because the client library's
batching publisher would cost more than the broker.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any

import grpc
import numpy as np
from google.auth.credentials import AnonymousCredentials
from google.cloud import pubsub_v1

from pipeline.pubsub import protos
from pipeline.pubsub.protos import Proto

PUBLISH_EVERY_S = 0.004
PAYLOAD = b'{"features": [' + b", ".join([b"0.123456"] * 30) + b"]}"

_MESSAGES_A_CALL = 1000  # at most, as Pub/Sub has it
_PUBLISHER = "/google.pubsub.v1.Publisher/"
_SUBSCRIBER = "/google.pubsub.v1.Subscriber/"


class Arrivals:
    """When each message arrived, by number.

    Attributes:
        count: Messages that arrived.
        duplicates: Messages that arrived once more.
    """

    def __init__(self, total: int) -> None:
        self._arrived = np.full(total, np.nan)
        self._lock = threading.Lock()
        self.count = 0
        self.duplicates = 0

    def record(self, numbers: Sequence[int], at: float) -> None:
        """Record that these messages arrived at a monotonic time in seconds."""
        with self._lock:
            for number in numbers:
                if np.isnan(self._arrived[number]):
                    self._arrived[number] = at
                    self.count += 1
                else:
                    self.duplicates += 1

    def latencies_s(self, due: np.ndarray) -> np.ndarray:
        """Return the seconds since each message that arrived was due, float64 [count].

        Args:
            due: Monotonic times in seconds, float64 [total].
        """
        latencies = self._arrived - due
        return latencies[~np.isnan(latencies)]

    def last(self) -> float:
        """Return when the last one arrived, monotonic seconds."""
        return float(np.nanmax(self._arrived))


def create(channel: grpc.Channel, topic: str, subscription: str) -> None:
    """Create a topic and its subscription, given by full names."""
    for method, request in (
        (f"{_PUBLISHER}CreateTopic", protos.Topic(name=topic)),
        (f"{_SUBSCRIBER}CreateSubscription", protos.Subscription(name=subscription, topic=topic)),
    ):
        channel.unary_unary(method, request_serializer=type(request).SerializeToString)(request, timeout=30)


def publish_on_schedule(channel: grpc.Channel, topic: str, due: np.ndarray) -> None:
    """Send message `i` at monotonic time `due[i]`, numbered in the attribute `n`; wait for every answer.

    Args:
        channel: To the broker.
        topic: Its full name.
        due: Seconds, float64 [total], in their order.
    """
    publish = channel.unary_unary(
        f"{_PUBLISHER}Publish",
        request_serializer=protos.PublishRequest.SerializeToString,
        response_deserializer=protos.PublishResponse.FromString,
    )
    calls: list[Any] = []
    sent = 0
    while sent < len(due):
        time.sleep(max(0.0, due[sent] - time.monotonic(), PUBLISH_EVERY_S if sent else 0.0))
        now_due = int(np.searchsorted(due, time.monotonic(), side="right"))
        while sent < now_due:
            last = min(now_due, sent + _MESSAGES_A_CALL)
            messages = [
                protos.PubsubMessage(data=PAYLOAD, attributes={"n": str(n)}) for n in range(sent, last)
            ]
            calls.append(publish.future(protos.PublishRequest(topic=topic, messages=messages), timeout=60))
            sent = last
    for call in calls:
        call.result()


@contextmanager
def high_level_receiver(channel: grpc.Channel, subscription: str, arrivals: Arrivals) -> Iterator[None]:
    """Receive with SubscriberClient.subscribe, as an application does."""
    client = _subscriber_client(channel)

    def receive(message: Any) -> None:
        arrivals.record([int(message.attributes["n"])], time.monotonic())
        message.ack()

    streaming = client.subscribe(subscription, receive)
    try:
        yield
    finally:
        streaming.cancel()
        streaming.result()


@contextmanager
def low_level_receiver(channel: grpc.Channel, subscription: str, arrivals: Arrivals) -> Iterator[None]:
    """Receive with one StreamingPull, acknowledging on the stream."""
    requests: SimpleQueue[Proto | None] = SimpleQueue()
    requests.put(protos.StreamingPullRequest(subscription=subscription, stream_ack_deadline_seconds=60))
    call = channel.stream_stream(
        f"{_SUBSCRIBER}StreamingPull",
        request_serializer=protos.StreamingPullRequest.SerializeToString,
        response_deserializer=protos.StreamingPullResponse.FromString,
    )(iter(requests.get, None))

    def receive() -> None:
        try:
            for response in call:
                at = time.monotonic()
                received = response.received_messages
                arrivals.record([int(each.message.attributes["n"]) for each in received], at)
                if received:
                    requests.put(protos.StreamingPullRequest(ack_ids=[each.ack_id for each in received]))
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.CANCELLED:
                raise

    thread = threading.Thread(target=receive, name="receiver")
    thread.start()
    try:
        yield
    finally:
        call.cancel()
        requests.put(None)
        thread.join()


def _subscriber_client(channel: grpc.Channel) -> pubsub_v1.SubscriberClient:
    transport_class = pubsub_v1.SubscriberClient.get_transport_class("grpc")
    return pubsub_v1.SubscriberClient(
        transport=transport_class(channel=channel, credentials=AnonymousCredentials())
    )
