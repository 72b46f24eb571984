"""Hostile HTTP calls for a container with the example's model, which takes 30 features."""

from __future__ import annotations

from dataclasses import dataclass

ROW = b"[" + b",".join([b"1"] * 30) + b"]"
GOOD = b'{"instances": [' + ROW + b"]}"
LARGE = 10_000_000  # bytes


@dataclass(frozen=True)
class HostileCall:
    """What somebody may send to the container's port.

    Attributes:
        data: The bytes.
        held: Whether the call stays unfinished, and the connection open for as long as the container lets it.
        connections: At once.
    """

    data: bytes
    held: bool = False
    connections: int = 1


def _head(*headers: bytes, method: bytes = b"POST", path: bytes = b"/predict") -> bytes:
    return b"\r\n".join([method + b" " + path + b" HTTP/1.1", b"Host: x", *headers]) + b"\r\n\r\n"


def _post(body: bytes, *headers: bytes) -> bytes:
    kind = (b"Content-Type: application/json",)
    return _head(*kind, b"Content-Length: %d" % len(body), *headers) + body


def _instances(instances: bytes) -> HostileCall:
    return HostileCall(_post(b'{"instances": [' + instances + b"]}"))


def _filled(piece: bytes) -> bytes:
    return piece * ((LARGE - 100) // len(piece)) + b"0"


_CHUNKED = b"Transfer-Encoding: chunked"
_JSON = b"Content-Type: application/json"

CALLS: dict[str, HostileCall] = {
    "silent": HostileCall(b"", held=True, connections=20),
    "half a header": HostileCall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-", held=True, connections=20),
    "a body short of a byte": HostileCall(_post(GOOD)[:-1], held=True, connections=20),
    "10 MB short of a byte": HostileCall(_instances(_filled(b"1,")).data[:-1], held=True, connections=10),
    "chunks without an end": HostileCall(
        _head(_JSON, _CHUNKED) + b"4\r\n[[[[\r\n" * 10_000, held=True, connections=5
    ),
    "10 MB of []": _instances(_filled(b"[],")),
    "10 MB of {}": _instances(_filled(b"{},")),
    "10 MB of numbers": _instances(_filled(b"1,")),
    "three times 10 MB of []": HostileCall(_instances(_filled(b"[],")).data, connections=3),
    "11 MB": HostileCall(_post(b" " * 11_000_000)),
    "nested 600 deep": _instances(b"[" * 600 + b"]" * 600),
    "nested 1,000,000 deep": _instances(b"[" * 1_000_000),
    "10,000,000 digits": _instances(b"9" * 9_000_000),
    "1e999999": _instances(b"1e999999"),
    "NaN": _instances(ROW.replace(b"1]", b"NaN]")),
    "not JSON": HostileCall(_post(b"\x80\x04\x95")),
    "empty": HostileCall(_post(b"")),
    "another kind": HostileCall(_head(b"Content-Type: " + b"x" * 60_000, b"Content-Length: 2") + b"{}"),
    "two lengths": HostileCall(_head(_JSON, b"Content-Length: 5", b"Content-Length: 6") + b"{}{}{}"),
    "a length of +4": HostileCall(_head(_JSON, b"Content-Length: +4") + b"{}{}"),
    "a negative length": HostileCall(_head(_JSON, b"Content-Length: -4")),
    "length and chunks": HostileCall(
        _head(_JSON, b"Content-Length: 3", _CHUNKED) + b"%x\r\n%b\r\n0\r\n\r\n" % (len(GOOD), GOOD)
    ),
    "xchunked": HostileCall(_head(_JSON, b"Transfer-Encoding: xchunked") + b"0\r\n\r\n"),
    "a space before the colon": HostileCall(_head(_JSON, b"Transfer-Encoding : chunked") + b"0\r\n\r\n"),
    "a bad chunk": HostileCall(_head(_JSON, _CHUNKED) + b"zz\r\n{}\r\n0\r\n\r\n"),
    "NUL in a header": HostileCall(_head(b"X: a\0b", b"Content-Length: 0")),
    "a header of 200 kB": HostileCall(_head(b"X: " + b"x" * 200_000, b"Content-Length: 0")),
    "not HTTP": HostileCall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 500),
    "another path": HostileCall(_head(method=b"GET", path=b"/../../etc/passwd")),
    "another method": HostileCall(_head(b"Content-Length: 0", method=b"DELETE")),
}
