"""gzip from outside, unpacked at a bounded cost."""

from __future__ import annotations

import zlib

from pipeline.pubsub.limits import MAX_MESSAGE_BYTES

MAX_UNPACKED_BYTES = MAX_MESSAGE_BYTES
"""Of a message's body: packed, it may hold no more than a message may that is not."""

FREE_BYTES = 64 * 1024
MOST_TIMES = 20
"""What passes through a request is held until it is answered, and messages are held by their packed bytes.
So of a packed body it may have FREE_BYTES, or MOST_TIMES the packed ones."""

# RFC 1952: a file may be several, one after the other. An empty one has 20 bytes, and each is copied on.
_MAX_MEMBERS = 100
_GZIP = 16 + zlib.MAX_WBITS


class GzipError(Exception):
    """Bytes that are not gzip, or are damaged."""


class UnpackedTooLargeError(GzipError):
    """gzip that holds more bytes than are taken."""


def is_gzip(data: bytes) -> bool:
    """Return whether bytes begin as gzip does, and as neither JSON nor UTF-8 can."""
    return data.startswith(b"\x1f\x8b")


def unpack(data: bytes, most: int) -> bytes:
    """Return what gzip holds. Never more than `most` bytes and one are made of it.

    Raises:
        GzipError: It is not gzip, or damaged.
        UnpackedTooLargeError: It holds more than `most` bytes.
    """
    parts: list[bytes] = []
    room = most
    for _ in range(_MAX_MEMBERS):
        member = zlib.decompressobj(_GZIP)
        try:
            part = member.decompress(data, room + 1)
        except zlib.error as error:
            raise GzipError(f"not gzip, or damaged: {error}") from None
        if len(part) > room:
            raise UnpackedTooLargeError(f"{len(data):,} bytes of gzip unpack to more than {most:,}")
        if not member.eof:
            raise GzipError("damaged: the end of the gzip is missing")
        parts.append(part)
        room -= len(part)
        data = member.unused_data
        if not data:
            return b"".join(parts)
    raise GzipError(f"more than {_MAX_MEMBERS} gzip files one after the other")
