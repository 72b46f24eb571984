"""Publish calls over HTTP/2, for emulators: gRPC's wire format without gRPC's threads.

A call of three messages costs the sender 0.26 ms of processor time in place of 0.40 (`benchmarks.pacing`),
and it is known when it was written to the socket. Emulators speak plain text; Google's brokers take TLS,
tokens and proxies, which are gRPC's matter.
The format: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
"""

from __future__ import annotations

import select
import socket
from collections import deque
from collections.abc import Mapping
from urllib.parse import unquote

import grpc
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    ResponseReceived,
    StreamReset,
    TrailersReceived,
)  # fmt: skip
from h2.exceptions import ProtocolError

from loadtest.clock import Clock
from loadtest.driver.publisher import Ended, Written
from pipeline.pubsub.calls import routing

CONNECT_WITHIN_S = 1.0
_READ_BYTES = 1 << 18
_RECEIVE_WINDOW = 1 << 30  # answers are small; nothing is to wait for more window
_CODES = {code.value[0]: code for code in grpc.StatusCode}


class _Call:
    """A call that has not ended.

    Attributes:
        number: Of the call.
        stream: That carries it; None until it has begun.
        unsent: What is left to hand to HTTP/2.
        headers: Of the answer, so far.
    """

    def __init__(self, number: int, request: bytes) -> None:
        self.number = number
        self.stream: int | None = None
        # A message in gRPC: a byte that says it is not compressed, its length in four, itself.
        self.unsent = memoryview(b"\0" + len(request).to_bytes(4, "big") + request)
        self.headers: dict[bytes, bytes] = {}


class Http2Publisher:
    """A `Publisher` to an emulator. It connects with its first call, and again after it was cut off."""

    def __init__(self, address: str, topic: str, clock: Clock) -> None:
        """Prepare to publish.

        Args:
            address: HOST:PORT of the emulator.
            topic: Full name.
            clock: Epoch seconds.
        """
        host, _, port = address.rpartition(":")
        self._address = (host.strip("[]"), int(port))
        ((key, value),) = routing("topic", topic)
        self._headers = [
            (b":method", b"POST"),
            (b":scheme", b"http"),
            (b":path", b"/google.pubsub.v1.Publisher/Publish"),
            (b":authority", address.encode()),
            (b"te", b"trailers"),
            (b"content-type", b"application/grpc"),
            (key.encode(), value.encode()),
        ]
        self._clock = clock
        self._socket: socket.socket | None = None
        self._connection = H2Connection()
        self._streams: dict[int, _Call] = {}  # of calls that have begun, by stream
        self._waiting: deque[_Call] = deque()  # for a stream, or for window, in the order of their begin
        self._output = memoryview(b"")  # that the socket did not take yet
        self._to_note: list[int] = []  # calls that are written once the output is
        self._events: list[Written | Ended] = []

    def send(self, call: int, request: bytes) -> None:
        """See `Publisher`."""
        if self._socket is None and not self._connect(call):
            return
        self._waiting.append(_Call(call, request))
        self._pump()

    def cancel(self, call: int) -> None:
        """See `Publisher`."""
        self._waiting = deque(each for each in self._waiting if each.number != call)
        stream = next((stream for stream, each in self._streams.items() if each.number == call), None)
        if stream is not None:
            del self._streams[stream]
            self._connection.reset_stream(stream)
            self._pump()

    def wait(self, seconds: float) -> list[Written | Ended]:
        """See `Publisher`."""
        if self._events:
            seconds = 0.0
        sockets = [] if self._socket is None else [self._socket]
        writing = sockets if self._output else []
        readable, writable, _ = select.select(sockets, writing, [], max(0.0, seconds))
        if readable:
            self._read()
        if (readable or writable) and self._socket is not None:
            self._pump()
        events, self._events = self._events, []
        return events

    def close(self) -> None:
        """See `Publisher`."""
        self._streams.clear()
        self._waiting.clear()
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _connect(self, call: int) -> bool:
        try:
            self._socket = socket.create_connection(self._address, CONNECT_WITHIN_S)
        except OSError as error:
            self._ended(call, grpc.StatusCode.UNAVAILABLE, f"cannot connect: {error.strerror or error}")
            return False
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # The headers are ours, and alike in all calls: checking each would cost as much as the rest.
        self._connection = H2Connection(
            H2Configuration(
                client_side=True,
                header_encoding=False,
                validate_outbound_headers=False,
                normalize_outbound_headers=False,
            )
        )
        self._connection.initiate_connection()
        self._connection.increment_flow_control_window(_RECEIVE_WINDOW)
        return True

    def _lost(self, reason: str) -> None:
        """End all calls: the connection is of no use any more."""
        lost = [*self._streams.values(), *(each for each in self._waiting if each.stream is None)]
        self.close()
        self._output = memoryview(b"")
        self._to_note.clear()
        for each in lost:
            self._ended(each.number, grpc.StatusCode.UNAVAILABLE, reason)

    def _ended(self, call: int, code: grpc.StatusCode, details: str) -> None:
        self._events.append(Ended(call, code, f"{code.name}: {details}" if details else code.name))

    def _pump(self) -> None:
        """Hand to HTTP/2 what its windows take, and to the socket what that takes."""
        while self._waiting and self._begun(self._waiting[0]):
            self._waiting.popleft()
        self._write()

    def _begun(self, call: _Call) -> bool:
        """Hand over what the windows take of a call; return whether that is all of it."""
        connection = self._connection
        if call.stream is None:
            if len(self._streams) >= connection.remote_settings.max_concurrent_streams:
                return False
            call.stream = connection.get_next_available_stream_id()
            connection.send_headers(call.stream, self._headers)
            self._streams[call.stream] = call
        while call.unsent:
            room = min(connection.local_flow_control_window(call.stream), connection.max_outbound_frame_size)
            if room <= 0:
                return False
            part, call.unsent = call.unsent[:room], call.unsent[room:]
            connection.send_data(call.stream, bytes(part), end_stream=not call.unsent)
        self._to_note.append(call.number)
        return True

    def _write(self) -> None:
        if self._socket is None:
            return
        fresh = self._connection.data_to_send()
        output = memoryview(bytes(self._output) + fresh) if self._output else memoryview(fresh)
        try:
            while output:
                output = output[self._socket.send(output) :]
        except BlockingIOError:
            self._output = output
            return
        except OSError as error:
            self._lost(f"the connection was lost: {error.strerror}")
            return
        self._output = output
        if self._to_note:
            now = self._clock()
            self._events += [Written(call, now) for call in self._to_note]
            self._to_note.clear()

    def _read(self) -> None:
        assert self._socket is not None  # for mypy: select has just seen it
        try:
            received = self._socket.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            self._lost(f"the connection was lost: {error.strerror}")
            return
        if not received:
            self._lost("the broker closed the connection")
            return
        try:
            events = self._connection.receive_data(received)
        except ProtocolError as error:
            self._lost(f"what answers does not speak gRPC: {error}")
            return
        for event in events:
            self._take(event)

    def _take(self, event: Event) -> None:
        if isinstance(event, DataReceived):
            self._connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, ResponseReceived | TrailersReceived):
            if call := self._streams.get(event.stream_id):
                call.headers.update(event.headers)
                if event.stream_ended is not None:
                    if self._forget(event.stream_id, call):
                        self._connection.reset_stream(event.stream_id)
                    self._answered(call.number, call.headers)
        elif isinstance(event, StreamReset):
            if call := self._streams.get(event.stream_id):
                self._forget(event.stream_id, call)
                self._ended(call.number, grpc.StatusCode.UNAVAILABLE, "the broker reset the call")
        elif isinstance(event, ConnectionTerminated):
            self._lost("the broker is going away")

    def _forget(self, stream: int, call: _Call) -> bool:
        """Drop a call that has ended; return whether a part of it had not been handed over."""
        del self._streams[stream]
        if call.unsent:
            self._waiting.remove(call)
        return bool(call.unsent)

    def _answered(self, call: int, headers: Mapping[bytes, bytes]) -> None:
        status = headers.get(b"grpc-status")
        if status is None:
            http_status = headers.get(b":status", b"?").decode()
            self._ended(call, grpc.StatusCode.UNKNOWN, f"no gRPC status (HTTP {http_status})")
            return
        code = _CODES.get(int(status), grpc.StatusCode.UNKNOWN)
        self._ended(call, code, " ".join(unquote(headers.get(b"grpc-message", b"").decode()).split()))
