"""From the bytes of a connection to its calls, in their order.

llhttp, the parser of Node.js, finds the calls (by httptools); this module holds their heads to the limits.
"""

from __future__ import annotations

from collections import deque

import httptools

from serving.errors import Reason, Refusal
from serving.exchange import KNOWN, Exchange, Responder
from serving.handler import Handler

_MOST_OF_A_HEAD = 2**16  # bytes


class CallParser:
    """The calls of one connection. What llhttp calls back only collects; nothing is answered here.

    Attributes:
        calls: Those whose head is complete, in order; the first has its turn.
        head: The call whose head is not complete; None between two heads.
        deaf: Whether what comes from here on is not read.
    """

    def __init__(self, handler: Handler, responder: Responder) -> None:
        """Prepare to read.

        Args:
            handler: Told of each call whose head has come.
            responder: Carries the answers.
        """
        self.calls: deque[Exchange] = deque()
        self.head: Exchange | None = None
        self.deaf = False
        self._handler = handler
        self._responder = responder
        self._parser = httptools.HttpRequestParser(self)
        self._head_bytes = 0

    def feed(self, data: bytes) -> None:
        """Take what has come."""
        if self.head is not None:
            self._head_bytes += len(data)
        while data:
            try:
                self._parser.feed_data(data)
                break
            except httptools.HttpParserUpgrade as upgrade:
                data = self._without_upgrade(data[upgrade.args[0] :])
            except httptools.HttpParserError as error:
                if not self.calls or self.calls[-1].keep_alive or not self.calls[-1].complete:
                    self._refuse_rest(_not_http(f"the call is not HTTP/1.1: {error}"))
                self.deaf = True
                break
        if self.head is not None and self._head_bytes > _MOST_OF_A_HEAD:
            self._refuse_rest(_large_head())

    def on_message_begin(self) -> None:
        """Begin a call. This and what follows is called by the parser."""
        self.head = Exchange(self._responder)
        self._head_bytes = 0

    def on_url(self, url: bytes) -> None:
        """Take a part of the target."""
        assert self.head is not None
        self.head.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; those after a body are read past."""
        exchange = self.head
        if exchange is None:
            return
        exchange.head_bytes += len(name) + len(value)
        lower = name.lower()
        if lower in KNOWN:
            exchange.headers.setdefault(lower, []).append(value)

    def on_headers_complete(self) -> None:
        """Take the head of a call."""
        exchange, self.head = self.head, None
        assert exchange is not None
        exchange.method = self._parser.get_method().decode("ascii")
        exchange.version = self._parser.get_http_version()
        exchange.keep_alive = self._parser.should_keep_alive() and exchange.version == "1.1"
        expect = exchange.header(b"expect").lower()
        exchange.expects_continue = expect == "100-continue" and exchange.version == "1.1"
        self.calls.append(exchange)
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
        exchange = self.calls[-1]
        if exchange.body is not None:
            try:
                exchange.body.add(part)
            except Refusal as refusal:
                exchange.refuse(refusal)

    def on_message_complete(self) -> None:
        """Take the end of a call."""
        self.calls[-1].complete = True

    def _without_upgrade(self, rest: bytes) -> bytes:
        """Return a call that asks for another protocol as one that does not, with what comes after its head.

        It is the server's choice (RFC 9110, 7.8), and the parser skips the body of such a call. Java's client
        asks for HTTP/2 with its first call, whatever that is.
        """
        exchange = self.calls[-1]
        if exchange.method == "CONNECT":
            exchange.keep_alive = False
            self.deaf = True
            return b""
        self.calls.pop().abandon()
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
        self.deaf = True
        self.head = None
        if self.calls and not self.calls[-1].complete:
            # The error is in the body of this one.
            broken = self.calls[-1]
        else:
            broken = Exchange(self._responder)
            self.calls.append(broken)
        broken.complete = True
        broken.is_last = True  # where its head was answered already
        broken.refuse(refusal, close=True)


def _large_head() -> Refusal:
    return Refusal(431, f"the head of the call is too large: at most {_MOST_OF_A_HEAD} bytes are taken")


def _not_http(message: str) -> Refusal:
    return Refusal(400, message, reason=Reason.HTTP)
