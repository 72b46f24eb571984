"""HTTP as bytes on a socket: what no client library would send, and what comes back."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import orjson

from tests.waiting import LIMIT_S


@dataclass(frozen=True)
class Reply:
    """One response: its status, its headers by lower-case name, its body."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def error(self) -> tuple[int, str]:
        """Status and name of an error, which must have Google's shape."""
        error = orjson.loads(self.body)["error"]
        assert self.headers["content-type"] == "application/json"
        assert error["code"] == self.status
        assert error["message"]
        return self.status, error["status"]


class Wire:
    """A connection on which a test says every byte itself."""

    def __init__(self, address: str) -> None:
        host, _, port = address.partition(":")
        self.socket = socket.create_connection((host, int(port)), timeout=LIMIT_S)
        self._unread = b""

    def send(self, data: bytes) -> Wire:
        self.socket.sendall(data)
        return self

    def reply(self, *, bodiless: bool = False) -> Reply:
        """Read one response; `bodiless`: to HEAD, which has no body whatever its Content-Length says."""
        head = self._read_until(b"\r\n\r\n").decode("latin-1")
        status_line, *lines = head.rstrip("\r\n").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        status = int(status_line.split()[1])
        if bodiless or status < 200:
            return Reply(status, headers, b"")
        if "content-length" in headers:
            return Reply(status, headers, self._read(int(headers["content-length"])))
        # Else it ends with the connection.
        self.closed()
        body, self._unread = self._unread, b""
        return Reply(status, headers, body)

    def refused(self) -> None:
        """Check that what was sent is refused, in whatever words, and the connection closed."""
        reply = self.reply()
        assert reply.status in (400, 431, 501)
        assert reply.headers["connection"] == "close"
        assert self.closed()

    def closed(self) -> bool:
        """Wait for the server to close the connection; return whether it did so without another byte."""
        with suppress(ConnectionResetError):
            while data := self.socket.recv(65536):
                self._unread += data
        return not self._unread

    def end(self) -> None:
        """Say that nothing more will be sent (FIN)."""
        self.socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self.socket.close()

    def reset(self) -> None:
        """Close the connection with RST."""
        linger = b"\x01\x00\x00\x00\x00\x00\x00\x00"
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.socket.close()

    def _read_until(self, end: bytes) -> bytes:
        while end not in self._unread:
            self._more()
        head, _, self._unread = self._unread.partition(end)
        return head + end

    def _read(self, length: int) -> bytes:
        while len(self._unread) < length:
            self._more()
        data, self._unread = self._unread[:length], self._unread[length:]
        return data

    def _more(self) -> None:
        data = self.socket.recv(65536)
        if not data:
            raise ConnectionError(f"closed after {self._unread!r}")
        self._unread += data


@contextmanager
def wire(address: str) -> Iterator[Wire]:
    """Yield a new connection."""
    connection = Wire(address)
    try:
        yield connection
    finally:
        connection.close()


def post(body: bytes, *headers: str, content_type: str = "application/json") -> bytes:
    """Return a call with its Content-Length; further headers as lines."""
    lines = [f"Content-Type: {content_type}", f"Content-Length: {len(body)}", *headers]
    return head(*lines) + body


def request(method: str, target: str, *headers: str, body: bytes = b"") -> bytes:
    """Return a request with a Host and, of a body, its Content-Length; further headers as lines."""
    length = [f"Content-Length: {len(body)}"] if body else []
    lines = [f"{method} {target} HTTP/1.1", "Host: test", *length, *headers, "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


def head(*lines: str, version: str = "1.1") -> bytes:
    """Return the head of a call, with a Host."""
    return "\r\n".join([f"POST /predict HTTP/{version}", "Host: test", *lines, "", ""]).encode()


def chunked(*parts: bytes, trailers: bytes = b"") -> bytes:
    """Return a body in chunks."""
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n" + trailers + b"\r\n"
