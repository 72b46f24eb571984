"""What a broker may do to a connection, in bytes."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import grpc
import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, Event, RequestReceived, SettingsAcknowledged, StreamEnded
from h2.settings import SettingCodes

from loadtest.clock import epoch_clock
from loadtest.driver.http2 import Http2Publisher
from loadtest.driver.publisher import Ended, Written
from tests.waiting import wait_until

TOPIC = "projects/project/topics/requests"


class Broker:
    """Accepts one connection after the other and says what a test tells it to."""

    def __init__(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listening.getsockname()[1]}"
        self._accepted: list[socket.socket] = []
        self.events: list[Event] = []

    def accept(self, settings: dict[int, int] | None = None) -> None:
        self.socket, _ = self._listening.accept()
        self._accepted.append(self.socket)
        self.socket.setblocking(False)
        self.events.clear()
        self.connection = H2Connection(H2Configuration(client_side=False))
        self.connection.initiate_connection()
        self.connection.update_settings(settings or {})
        self.flush()

    def flush(self) -> None:
        self.socket.sendall(self.connection.data_to_send())

    def receive(self) -> None:
        try:
            self.events += self.connection.receive_data(self.socket.recv(1 << 20))
        except BlockingIOError:
            return
        self.flush()

    def answer(self, stream: int, *headers: tuple[str, str]) -> None:
        self.connection.send_headers(stream, [(":status", "200"), *headers], end_stream=True)
        self.flush()

    def close(self) -> None:
        for each in (self._listening, *self._accepted):
            each.close()


@pytest.fixture
def broker() -> Iterator[Broker]:
    started = Broker()
    yield started
    started.close()


@pytest.fixture
def publisher(broker: Broker) -> Iterator[Http2Publisher]:
    made = Http2Publisher(broker.address, TOPIC, epoch_clock())
    yield made
    made.close()


def seen(broker: Broker, kind: type[Event]) -> list[Event]:
    return [event for event in broker.events if isinstance(event, kind)]


def until(broker: Broker, publisher: Http2Publisher, kind: type[Event], count: int) -> list[Written | Ended]:
    """Let both sides go on until the broker has seen so many events; return what the publisher says."""
    said: list[Written | Ended] = []

    def there() -> bool:
        said.extend(publisher.wait(0))
        broker.receive()
        return len(seen(broker, kind)) >= count

    wait_until(there)
    return said


def ended(publisher: Http2Publisher) -> list[Ended]:
    said: list[Ended] = []

    def there() -> bool:
        said.extend(event for event in publisher.wait(0.01) if isinstance(event, Ended))
        return bool(said)

    wait_until(there)
    return said


def test_a_call_is_grpcs(broker: Broker, publisher: Http2Publisher) -> None:
    publisher.send(7, b"request")
    broker.accept()
    said = until(broker, publisher, StreamEnded, 1)
    assert [(type(event), event.call) for event in said] == [(Written, 7)]
    (request,) = seen(broker, RequestReceived)
    assert isinstance(request, RequestReceived)
    headers = dict(request.headers)
    assert headers[b":path"] == b"/google.pubsub.v1.Publisher/Publish"
    assert headers[b"content-type"] == b"application/grpc"
    assert headers[b"x-goog-request-params"] == b"topic=projects/project/topics/requests"
    (data,) = seen(broker, DataReceived)
    assert isinstance(data, DataReceived)
    assert data.data == b"\0\0\0\0\7request"
    broker.answer(1, ("grpc-status", "5"), ("grpc-message", "no such%0Atopic"))
    assert ended(publisher) == [Ended(7, grpc.StatusCode.NOT_FOUND, "NOT_FOUND: no such topic")]


def test_what_a_window_does_not_take_is_written_once_there_is_room(
    broker: Broker, publisher: Http2Publisher
) -> None:
    large = b"x" * 100_000  # above HTTP/2's window of 65,535 bytes
    publisher.send(1, large)
    publisher.send(2, b"after it")
    broker.accept()
    said = until(broker, publisher, DataReceived, 4)  # 65,535 bytes, in frames of at most 16,384
    assert received(broker) == 65_535
    assert said == []
    broker.connection.increment_flow_control_window(1 << 20)
    broker.connection.increment_flow_control_window(1 << 20, stream_id=1)
    broker.flush()
    said += until(broker, publisher, StreamEnded, 2)
    assert [event.call for event in said] == [1, 2]
    assert received(broker) == len(large) + len(b"after it") + 2 * 5


@pytest.mark.parametrize("resets", [True, False])
def test_a_call_that_ends_before_it_is_written_is_not_written_on(
    broker: Broker, publisher: Http2Publisher, resets: bool
) -> None:
    publisher.send(1, b"x" * 100_000)
    publisher.send(2, b"after it")
    broker.accept()
    until(broker, publisher, DataReceived, 4)
    if resets:
        broker.connection.reset_stream(1)
        broker.flush()
    else:
        broker.answer(1, ("grpc-status", "8"))
    code = grpc.StatusCode.UNAVAILABLE if resets else grpc.StatusCode.RESOURCE_EXHAUSTED
    assert [(event.call, event.code) for event in ended(publisher)] == [(1, code)]
    broker.connection.increment_flow_control_window(1 << 20)
    broker.flush()
    said = until(broker, publisher, StreamEnded, 1)
    assert [(type(event), event.call) for event in said] == [(Written, 2)]


def received(broker: Broker) -> int:
    return sum(len(event.data or b"") for event in broker.events if isinstance(event, DataReceived))


def test_no_more_calls_at_once_than_the_broker_allows(broker: Broker, publisher: Http2Publisher) -> None:
    publisher.send(1, b"first")
    broker.accept({SettingCodes.MAX_CONCURRENT_STREAMS: 1})
    until(broker, publisher, SettingsAcknowledged, 2)
    publisher.send(2, b"second")
    assert publisher.wait(0) == []
    broker.answer(1, ("grpc-status", "0"))
    assert [event for event in until(broker, publisher, StreamEnded, 2) if isinstance(event, Ended)] == [
        Ended(1, grpc.StatusCode.OK, "OK")
    ]


def test_a_lost_connection_ends_its_calls_and_the_next_one_connects_anew(
    broker: Broker, publisher: Http2Publisher
) -> None:
    publisher.send(1, b"first")
    broker.accept()
    until(broker, publisher, StreamEnded, 1)
    broker.socket.close()
    (lost,) = ended(publisher)
    assert (lost.call, lost.code) == (1, grpc.StatusCode.UNAVAILABLE)
    publisher.send(2, b"second")
    broker.accept()
    until(broker, publisher, StreamEnded, 1)
    broker.answer(1, ("grpc-status", "0"))
    assert ended(publisher) == [Ended(2, grpc.StatusCode.OK, "OK")]


def test_a_goodbye_and_a_reset_are_transient(broker: Broker, publisher: Http2Publisher) -> None:
    publisher.send(1, b"first")
    publisher.send(2, b"second")
    broker.accept()
    until(broker, publisher, StreamEnded, 2)
    broker.connection.reset_stream(1)
    broker.flush()
    assert [(event.call, event.code) for event in ended(publisher)] == [(1, grpc.StatusCode.UNAVAILABLE)]
    broker.connection.close_connection()
    broker.flush()
    assert ended(publisher) == [
        Ended(2, grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE: the broker is going away")
    ]


def test_a_cancelled_call_is_not_heard_of_again(broker: Broker, publisher: Http2Publisher) -> None:
    publisher.send(1, b"first")
    publisher.send(2, b"second")
    broker.accept()
    until(broker, publisher, StreamEnded, 2)
    publisher.cancel(1)
    broker.answer(1, ("grpc-status", "0"))
    broker.answer(3, ("grpc-status", "0"))
    assert ended(publisher) == [Ended(2, grpc.StatusCode.OK, "OK")]


def test_what_does_not_speak_grpc_is_told(broker: Broker, publisher: Http2Publisher) -> None:
    publisher.send(1, b"first")
    broker.accept()
    until(broker, publisher, StreamEnded, 1)
    broker.answer(1, ("content-type", "text/html"))
    assert ended(publisher) == [Ended(1, grpc.StatusCode.UNKNOWN, "UNKNOWN: no gRPC status (HTTP 200)")]
    publisher.send(2, b"second")
    broker.socket.sendall(b"\0\0\1\0\0\0\0\0\0x")  # data of stream 0, which has none
    (second,) = ended(publisher)
    assert (second.call, second.code) == (2, grpc.StatusCode.UNAVAILABLE)
    assert "does not speak gRPC" in second.reason


def test_nobody_listens(broker: Broker, publisher: Http2Publisher) -> None:
    broker.close()
    publisher.send(1, b"first")
    (refused,) = ended(publisher)
    assert refused == Ended(1, grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE: cannot connect: Connection refused")
