"""StreamingPull's rules, seen by raw streams."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from typing import Any

import grpc
import pytest
from google.cloud.pubsub_v1 import SubscriberClient

from broker import EmbeddedBroker, Faults
from broker.state import BrokerState
from broker.streaming_pull import StreamingPull
from pipeline.pubsub import protos
from tests.broker.conftest import FakeClock
from tests.waiting import LIMIT_S, wait_until


class Stream:
    """One StreamingPull, its requests sent and its messages read by the test."""

    def __init__(self, channel: grpc.Channel, subscription: str, **fields: Any) -> None:
        self._requests: SimpleQueue[Any] = SimpleQueue()
        self.received: SimpleQueue[Any] = SimpleQueue()
        self.ended: Future[tuple[grpc.StatusCode, str]] = Future()
        fields.setdefault("stream_ack_deadline_seconds", 10)
        self.send(subscription=subscription, **fields)
        self._call = channel.stream_stream(
            "/google.pubsub.v1.Subscriber/StreamingPull",
            request_serializer=protos.StreamingPullRequest.SerializeToString,
            response_deserializer=protos.StreamingPullResponse.FromString,
        )(iter(self._requests.get, None))
        threading.Thread(target=self._read, daemon=True).start()

    def send(self, **fields: Any) -> None:
        self._requests.put(protos.StreamingPullRequest(**fields))

    def close(self) -> None:
        """Close the client's side only."""
        self._requests.put(None)

    def cancel(self) -> None:
        self.close()
        self._call.cancel()

    def take(self, count: int) -> list[Any]:
        return [self.received.get(timeout=LIMIT_S) for _ in range(count)]

    def has_nothing(self) -> bool:
        try:
            self.received.get(timeout=0.1)
        except Empty:
            return True
        return False

    def _read(self) -> None:
        try:
            for response in self._call:
                for each in response.received_messages:
                    self.received.put(each)
        except grpc.RpcError:
            pass  # the status below tells
        self.ended.set_result((self._call.code(), self._call.details()))


@pytest.fixture
def open_stream(channel: grpc.Channel, subscription: str) -> Iterator[Callable[..., Stream]]:
    streams: list[Stream] = []

    def open_one(name: str = subscription, **fields: Any) -> Stream:
        streams.append(Stream(channel, name, **fields))
        return streams[-1]

    yield open_one
    for stream in streams:
        stream.cancel()


OpenStream = Callable[..., Stream]
Publish = Callable[..., list[str]]


def test_messages_are_streamed_and_acknowledged_on_the_stream(
    open_stream: OpenStream, publish: Publish, broker: EmbeddedBroker, subscription: str
) -> None:
    publish(b"waiting")
    stream = open_stream()
    (waiting,) = stream.take(1)
    publish(b"new")
    (new,) = stream.take(1)
    assert [waiting.message.data, new.message.data] == [b"waiting", b"new"]
    stream.send(ack_ids=[waiting.ack_id, new.ack_id])
    wait_until(lambda: broker.stats(subscription).acknowledged == 2)
    assert broker.stats(subscription).outstanding == 0


def test_flow_control_by_count(
    open_stream: OpenStream, publish: Publish, broker: EmbeddedBroker, subscription: str
) -> None:
    publish(*[b"x"] * 10)
    stream = open_stream(max_outstanding_messages=3)
    held = stream.take(3)
    assert stream.has_nothing()
    assert broker.stats(subscription).outstanding == 3
    stream.send(ack_ids=[held[0].ack_id, held[1].ack_id])
    stream.take(2)
    assert stream.has_nothing()
    # Giving one back makes room too.
    stream.send(modify_deadline_ack_ids=[held[2].ack_id], modify_deadline_seconds=[0])
    stream.take(1)
    assert stream.has_nothing()


def test_flow_control_by_bytes(open_stream: OpenStream, publish: Publish) -> None:
    publish(*[bytes(1000)] * 5)
    stream = open_stream(max_outstanding_bytes=2500)
    held = stream.take(2)
    assert stream.has_nothing()
    stream.send(ack_ids=[held[0].ack_id])
    stream.take(1)
    assert stream.has_nothing()


def test_several_streams_share_a_subscription(
    open_stream: OpenStream, publish: Publish, broker: EmbeddedBroker, subscription: str
) -> None:
    streams = [open_stream(max_outstanding_messages=2) for _ in range(3)]
    wait_until(lambda: broker.stats(subscription).streams == 3)
    published = publish(*[b"x"] * 6)
    received = [each.message.message_id for stream in streams for each in stream.take(2)]
    assert sorted(received) == sorted(published)
    assert all(stream.has_nothing() for stream in streams)


def test_the_ack_deadline_of_the_stream_counts_and_can_be_changed(
    open_stream: OpenStream, publish: Publish, clock: FakeClock, broker: EmbeddedBroker, subscription: str
) -> None:
    stream = open_stream(stream_ack_deadline_seconds=60)
    publish(b"a")
    (first,) = stream.take(1)
    clock.advance(50)
    assert stream.has_nothing()
    clock.advance(11)
    (again,) = stream.take(1)
    assert again.message == first.message
    stream.send(ack_ids=[again.ack_id], stream_ack_deadline_seconds=20)
    wait_until(lambda: broker.stats(subscription).acknowledged == 1)
    publish(b"b")
    stream.take(1)
    clock.advance(21)
    assert [each.message.data for each in stream.take(1)] == [b"b"]


def test_a_lease_is_extended_on_the_stream(
    open_stream: OpenStream, publish: Publish, clock: FakeClock, broker: EmbeddedBroker, subscription: str
) -> None:
    publish(b"a", b"b")
    stream = open_stream()
    extended, acknowledged = stream.take(2)
    stream.send(
        modify_deadline_ack_ids=[extended.ack_id],
        modify_deadline_seconds=[60],
        ack_ids=[acknowledged.ack_id],
    )
    wait_until(lambda: broker.stats(subscription).acknowledged == 1)
    clock.advance(55)
    assert stream.has_nothing()


def test_a_broken_stream_keeps_its_messages_leased_until_their_deadline(
    open_stream: OpenStream, publish: Publish, broker: EmbeddedBroker, subscription: str, clock: FakeClock
) -> None:
    first = open_stream()
    publish(b"a")
    first.take(1)
    first.cancel()
    wait_until(lambda: broker.stats(subscription).streams == 0)
    second = open_stream()
    assert second.has_nothing()
    assert broker.stats(subscription).outstanding == 1
    clock.advance(11)
    assert [each.message.data for each in second.take(1)] == [b"a"]


def test_closing_the_clients_side_ends_the_stream_well(
    open_stream: OpenStream, broker: EmbeddedBroker, subscription: str
) -> None:
    stream = open_stream()
    stream.close()
    assert stream.ended.result(timeout=LIMIT_S)[0] is grpc.StatusCode.OK
    assert broker.stats(subscription).streams == 0


def test_a_dropped_stream_ends_at_once(
    open_stream: OpenStream, broker: EmbeddedBroker, subscription: str
) -> None:
    streams = [open_stream() for _ in range(2)]
    wait_until(lambda: broker.stats(subscription).streams == 2)
    assert broker.faults.drop_streams() == 2
    for stream in streams:
        assert stream.ended.result(timeout=LIMIT_S)[0] is grpc.StatusCode.UNAVAILABLE
    assert broker.stats(subscription).streams == 0


def test_messages_that_could_not_be_written_go_back_at_once(clock: FakeClock) -> None:
    state = BrokerState(clock)
    name = "projects/test-project/subscriptions/requests"
    topic = state.create_topic(protos.Topic(name="projects/test-project/topics/requests"))
    subscription = state.create_subscription(protos.Subscription(name=name, topic=topic.name))
    state.publish(topic, [protos.PubsubMessage(data=b"1"), protos.PubsubMessage(data=b"2")])

    async def requests() -> AsyncIterator[Any]:
        yield protos.StreamingPullRequest(subscription=name, stream_ack_deadline_seconds=10)
        await asyncio.Event().wait()

    async def write(response: Any) -> None:
        assert len(response.received_messages) == 2
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        asyncio.run(StreamingPull(state, Faults(frozenset())).serve(requests(), write))
    stats = subscription.stats()
    assert (stats.backlog, stats.outstanding, stats.streams) == (2, 0, 0)


def test_deleting_the_subscription_ends_the_stream(
    open_stream: OpenStream, broker: EmbeddedBroker, subscription: str, subscriber: SubscriberClient
) -> None:
    stream = open_stream()
    wait_until(lambda: broker.stats(subscription).streams == 1)
    subscriber.delete_subscription(subscription=subscription)
    code, details = stream.ended.result(timeout=LIMIT_S)
    assert code is grpc.StatusCode.NOT_FOUND
    assert "was deleted" in details


@pytest.mark.parametrize(
    ("name", "fields", "code", "reason"),
    [
        ("projects/test-project/subscriptions/missing", {}, grpc.StatusCode.NOT_FOUND, "does not exist"),
        ("missing", {}, grpc.StatusCode.INVALID_ARGUMENT, "is not a subscription name"),
        (
            "projects/test-project/subscriptions/requests-sub",
            {"stream_ack_deadline_seconds": 9},
            grpc.StatusCode.INVALID_ARGUMENT,
            "stream_ack_deadline_seconds must be 10 to 600",
        ),
    ],
)
def test_a_bad_first_request_is_refused(
    name: str, fields: dict[str, Any], code: grpc.StatusCode, reason: str, open_stream: OpenStream
) -> None:
    found, details = open_stream(name, **fields).ended.result(timeout=LIMIT_S)
    assert found is code
    assert reason in details


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        (
            {"subscription": "projects/test-project/subscriptions/other"},
            "subscription may be set in the first",
        ),
        ({"max_outstanding_messages": 5}, "flow control may be set in the first"),
        ({"stream_ack_deadline_seconds": 601}, "stream_ack_deadline_seconds must be"),
        ({"modify_deadline_ack_ids": ["1:1"]}, "must be as many"),
        (
            {"modify_deadline_ack_ids": ["1:1"], "modify_deadline_seconds": [601]},
            "modify_deadline_seconds must be",
        ),
        ({"ack_ids": ["nonsense"]}, "'nonsense' is not an ack id"),
    ],
)
def test_a_bad_later_request_ends_the_stream(
    fields: dict[str, Any], reason: str, open_stream: OpenStream
) -> None:
    stream = open_stream()
    stream.send(**fields)
    code, details = stream.ended.result(timeout=LIMIT_S)
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert reason in details
