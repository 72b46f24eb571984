"""gzip from outside costs no more than its limit."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.request.compression import GzipError, UnpackedTooLargeError, is_gzip, unpack


@given(st.lists(st.binary(max_size=2_000), min_size=1, max_size=3))
def test_what_is_packed_comes_out(parts: list[bytes]) -> None:
    packed = b"".join(map(gzip.compress, parts))
    assert is_gzip(packed)
    assert unpack(packed, 6_000) == b"".join(parts)


@pytest.mark.parametrize("short", [0, 1])
@pytest.mark.parametrize("parts", [1, 3])
def test_the_limit_is_exact(short: int, parts: int) -> None:
    packed = gzip.compress(b"x" * 1_000) * parts
    if short:
        with pytest.raises(UnpackedTooLargeError, match=f"unpack to more than {1_000 * parts - 1:,}"):
            unpack(packed, 1_000 * parts - 1)
    else:
        assert len(unpack(packed, 1_000 * parts)) == 1_000 * parts


def test_a_bomb_is_not_unpacked() -> None:
    packer = zlib.compressobj(wbits=31)
    bomb = b"".join(packer.compress(bytes(1 << 20)) for _ in range(50)) + packer.flush()
    tracemalloc.start()
    try:
        with pytest.raises(UnpackedTooLargeError):
            unpack(bomb, 1 << 20)
        # The limit, and the same once more while zlib puts its blocks together.
        assert tracemalloc.get_traced_memory()[1] < 3 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "the end of the gzip is missing"),
        (b"{}", "not gzip"),
        (zlib.compress(b"x"), "not gzip"),
        (gzip.compress(b"x", mtime=0)[:-1], "the end of the gzip is missing"),
        (gzip.compress(b"x", mtime=0)[:-8] + bytes(8), "incorrect data check"),
        (gzip.compress(b"x", mtime=0) + b"tail", "not gzip"),
        (gzip.compress(b"", mtime=0) * 101, "more than 100 gzip files"),
    ],
)
def test_what_is_none(data: bytes, reason: str) -> None:
    with pytest.raises(GzipError, match=reason) as caught:
        unpack(data, 1_000)
    assert type(caught.value) is GzipError
