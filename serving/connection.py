"""One connection of a client: its calls in turn, their answers as bytes, and how slow the client may be."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from enum import Enum, auto

from serving.call_parser import CallParser
from serving.errors import Refusal
from serving.exchange import Answer, Exchange, Writer
from serving.handler import Handler
from serving.limits import Limits

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

    Calls are answered when the parser has returned.

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
        self._parser = CallParser(handler, self)
        self._calls = self._parser.calls
        self._reads = True
        self._congested = False  # the client does not take its answers
        self._ends = False  # the server ends: no answer is followed by another call

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See `asyncio.Protocol`."""
        self._transport = transport
        self._all_open.add(self)

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        if self._parser.deaf:
            return
        self._parser.feed(data)
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
        self._parser.deaf = True
        self._all_open.discard(self)
        while self._calls:
            exchange = self._calls.popleft()
            if not exchange.answered:
                self._handler.left()
            exchange.abandon()
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
        self._parser.deaf = True
        self._transport.close()

    def _expire(self, most: float) -> None:
        # In a head there is no call before it; in a body the call is the first.
        late = self._calls[0] if self._calls else self._parser.head
        if late is not None and not late.answered:
            late.keep_alive = False
            message = f"the {self.phase.name.lower()} of the call was not complete within {most:g} s"
            self._answer(late, Answer.of(Refusal(408, message)))
        self._close()

    def _phase(self) -> Phase:
        if self._calls:
            return Phase.ANSWER if self._calls[0].complete else Phase.BODY
        return Phase.IDLE if self._parser.head is None else Phase.HEAD

    def _enter(self, phase: Phase) -> None:
        if phase is not self.phase:
            self.phase, self.since = phase, time.monotonic()
