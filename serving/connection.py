"""One connection of a client: from bytes to calls, in their order, and from answers to bytes.

llhttp, the parser of Node.js, finds the calls (by httptools); this module holds clients to the limits.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from enum import Enum, auto

import httptools

from serving.errors import Reason, Refusal
from serving.exchange import KNOWN, Answer, Exchange, Writer
from serving.handler import Handler
from serving.limits import Limits

_MOST_OF_A_HEAD = 2**16  # bytes
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Phase(Enum):
    """What a connection is in the middle of.

    Attributes:
        SILENT: It is new; nothing has come.
        HEAD: A call has begun; its head is not complete.
        BODY: The head is complete, the body is not; it may have been answered already.
        ANSWER: The whole call has come, and is being answered.
        IDLE: Between two calls.
    """

    SILENT = auto()
    HEAD = auto()
    BODY = auto()
    ANSWER = auto()
    IDLE = auto()


class Connection(asyncio.Protocol):
    """A connection, which knows how long it has been in its phase.

    What the parser calls back only collects; calls are answered when it has returned.

    Attributes:
        phase: What it is in the middle of.
        since: When that began, monotonic seconds: uvloop's own clock has whole milliseconds.
    """

    def __init__(
        self, handler: Handler, writer: Writer, all_open: set[Connection], closed: Callable[[], None]
    ) -> None:
        self._handler = handler
        self._writer = writer
        self._all_open = all_open
        self._closed = closed
        self.phase = Phase.SILENT
        self.since = time.monotonic()
        self._untaken_since: float | None = None
        self._transport: asyncio.Transport
        self._parser = httptools.HttpRequestParser(self)
        self._head: Exchange | None = None  # whose head is not complete
        self._head_bytes = 0
        self._calls: deque[Exchange] = deque()  # whose head is complete, in order; the first has its turn
        self._reads = True
        self._congested = False  # the client does not take its answers
        self._deaf = False  # what comes from here on is not read
        self._ends = False  # the server ends: no answer is followed by another call

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See `asyncio.Protocol`."""
        self._transport = transport
        self._all_open.add(self)

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        if self._deaf:
            return
        if self._head is not None:
            self._head_bytes += len(data)
        self._feed(data)
        if self._head is not None and self._head_bytes > _MOST_OF_A_HEAD:
            self._refuse_rest(_large_head())
        self._go_on()

    def pause_writing(self) -> None:
        """See `asyncio.Protocol`: no further call is answered until the client takes its answers."""
        self._congested = True

    def resume_writing(self) -> None:
        """See `asyncio.Protocol`."""
        self._congested = False
        self._go_on()

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._deaf = True
        self._all_open.discard(self)
        while self._calls:
            exchange = self._calls.popleft()
            if not exchange.answered:
                self._handler.left()
            self._drop(exchange)
        self._closed()

    @property
    def busy(self) -> bool:
        """Whether there is a call whose head has come, and which is not answered."""
        return any(not exchange.answered for exchange in self._calls)

    def respond(self, exchange: Exchange, answer: Answer) -> None:
        """See `serving.exchange.Responder`."""
        self._answer(exchange, answer)
        self._go_on()

    def check(self, limits: Limits) -> None:
        """Close the connection if its client is slower than it may be."""
        now = time.monotonic()
        if not self._transport.get_write_buffer_size():
            self._untaken_since = None
        elif self._untaken_since is None:
            self._untaken_since = now
        elif now - self._untaken_since > limits.answer_s:
            self._transport.abort()
        if self._transport.is_closing():
            return
        most = {
            Phase.SILENT: limits.silence_s,
            Phase.HEAD: limits.head_s,
            Phase.BODY: limits.body_s,
            Phase.IDLE: limits.idle_s,
        }.get(self.phase)
        if most is not None and now - self.since > most:
            self._expire(most)

    def end(self) -> None:
        """Close the connection now if it is idle, else after the call whose turn it is."""
        self._ends = True
        if not self._calls:
            self._close()

    def give_up(self, refusal: Refusal) -> None:
        """Close the connection now; a call whose turn it is gets an error."""
        if self.busy:
            self._answer(self._calls[0], Answer.of(refusal))
        self._close()

    def on_message_begin(self) -> None:
        """Begin a call. This and what follows is called by the parser."""
        self._head = Exchange(self)
        self._head_bytes = 0

    def on_url(self, url: bytes) -> None:
        """Take a part of the target."""
        assert self._head is not None
        self._head.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; those after a body are read past."""
        exchange = self._head
        if exchange is None:
            return
        exchange.head_bytes += len(name) + len(value)
        lower = name.lower()
        if lower in KNOWN:
            exchange.headers.setdefault(lower, []).append(value)

    def on_headers_complete(self) -> None:
        """Take the head of a call."""
        exchange, self._head = self._head, None
        assert exchange is not None
        exchange.method = self._parser.get_method().decode("ascii")
        exchange.version = self._parser.get_http_version()
        exchange.keep_alive = self._parser.should_keep_alive() and exchange.version == "1.1"
        expect = exchange.header(b"expect").lower()
        exchange.expects_continue = expect == "100-continue" and exchange.version == "1.1"
        self._calls.append(exchange)
        if exchange.head_bytes + len(exchange.target) > _MOST_OF_A_HEAD:
            exchange.refuse(_large_head(), close=True)
        elif exchange.version == "1.1" and len(exchange.headers.get(b"host", [])) != 1:
            exchange.refuse(_not_http("the call is not HTTP/1.1, which has one Host"), close=True)
        else:
            try:
                self._handler.begin(exchange)
            except Refusal as refusal:
                exchange.refuse(refusal)

    def on_body(self, part: bytes) -> None:
        """Take a part of a body, unless the call is refused."""
        exchange = self._calls[-1]
        if exchange.body is not None:
            try:
                exchange.body.add(part)
            except Refusal as refusal:
                exchange.refuse(refusal)

    def on_message_complete(self) -> None:
        """Take the end of a call."""
        self._calls[-1].complete = True

    def _feed(self, data: bytes) -> None:
        while data:
            try:
                self._parser.feed_data(data)
                return
            except httptools.HttpParserUpgrade as upgrade:
                data = self._without_upgrade(data[upgrade.args[0] :])
            except httptools.HttpParserError as error:
                if not self._calls or self._calls[-1].keep_alive or not self._calls[-1].complete:
                    self._refuse_rest(_not_http(f"the call is not HTTP/1.1: {error}"))
                self._deaf = True
                return

    def _without_upgrade(self, rest: bytes) -> bytes:
        """Return a call that asks for another protocol as one that does not, with what comes after its head.

        It is the server's choice (RFC 9110, 7.8), and the parser skips the body of such a call. Java's client
        asks for HTTP/2 with its first call, whatever that is.
        """
        exchange = self._calls[-1]
        if exchange.method == "CONNECT":
            exchange.keep_alive = False
            self._deaf = True
            return b""
        self._drop(self._calls.pop())
        if "close" in exchange.header(b"connection").lower():
            exchange.headers[b"connection"] = [b"close"]
        else:
            del exchange.headers[b"connection"]
        lines = [b"%b: %b" % (name, value) for name, values in exchange.headers.items() for value in values]
        first = b"%b %b HTTP/%b" % (exchange.method.encode(), exchange.target, exchange.version.encode())
        self._parser = httptools.HttpRequestParser(self)
        return b"\r\n".join([first, *lines, b"", rest])

    def _refuse_rest(self, refusal: Refusal) -> None:
        """Let what has come be answered, then the rest with an error; and close the connection."""
        self._deaf = True
        self._head = None
        if self._calls and not self._calls[-1].complete:
            # The error is in the body of this one.
            broken = self._calls[-1]
        else:
            broken = Exchange(self)
            self._calls.append(broken)
        broken.complete = True
        broken.is_last = True  # where its head was answered already
        broken.refuse(refusal, close=True)

    def _go_on(self) -> None:
        """Do what is due: answer what is refused, handle what has come whole, end what is over."""
        while self._calls and not self._congested:
            exchange = self._calls[0]
            if exchange.answered:
                if not exchange.complete:
                    break  # an answer may come before the end of the body
                self._calls.popleft()
                if exchange.is_last:
                    self._close()
                    return
            elif exchange.refusal is not None:
                self._answer(exchange, Answer.of(exchange.refusal))
            elif exchange.complete and not exchange.handled:
                exchange.handled = True
                try:
                    answer = self._handler.handle(exchange)
                except Refusal as refusal:
                    exchange.refuse(refusal)
                    continue
                if answer is None:
                    break
                self._send(exchange, answer)
            else:
                if exchange.expects_continue and not exchange.complete:
                    exchange.expects_continue = False
                    self._transport.write(_CONTINUE)
                break
        self._enter(self._phase())
        reads = len(self._calls) <= 1 and not self._congested
        if reads is not self._reads and not self._transport.is_closing():
            self._reads = reads
            if reads:
                self._transport.resume_reading()
            else:
                self._transport.pause_reading()

    def _answer(self, exchange: Exchange, answer: Answer) -> None:
        self._handler.answered(exchange, answer)
        self._send(exchange, answer)

    def _send(self, exchange: Exchange, answer: Answer) -> None:
        exchange.answered = True
        exchange.release()
        exchange.is_last = self._ends or not exchange.keep_alive or self._handler.draining
        bodiless = exchange.method == "HEAD"
        self._transport.write(self._writer.message(answer, close=exchange.is_last, bodiless=bodiless))

    def _close(self) -> None:
        self._deaf = True
        self._transport.close()

    def _drop(self, exchange: Exchange) -> None:
        exchange.gone = True
        exchange.release()

    def _expire(self, most: float) -> None:
        # In a head there is no call before it; in a body the call is the first.
        late = self._calls[0] if self._calls else self._head
        if late is not None and not late.answered:
            late.keep_alive = False
            message = f"the {self.phase.name.lower()} of the call was not complete within {most:g} s"
            self._answer(late, Answer.of(Refusal(408, message)))
        self._close()

    def _phase(self) -> Phase:
        if self._calls:
            return Phase.ANSWER if self._calls[0].complete else Phase.BODY
        return Phase.IDLE if self._head is None else Phase.HEAD

    def _enter(self, phase: Phase) -> None:
        if phase is not self.phase:
            self.phase, self.since = phase, time.monotonic()


def _large_head() -> Refusal:
    return Refusal(431, f"the head of the call is too large: at most {_MOST_OF_A_HEAD} bytes are taken")


def _not_http(message: str) -> Refusal:
    return Refusal(400, message, reason=Reason.HTTP)
