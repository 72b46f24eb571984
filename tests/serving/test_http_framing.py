"""Where a body ends: chunks, lengths, and both at once, whatever parses them."""

from __future__ import annotations

from contextlib import suppress

import pytest

from tests.serving.bytes_on_socket import chunked, head, post, request, wire
from tests.serving.container import instances
from tests.serving.harness import Harness
from tests.serving.models import PID
from tests.waiting import wait_until

GOOD = instances([PID])
JSON_TYPE = "Content-Type: application/json"
CHUNKED = "Transfer-Encoding: chunked"
LENGTH = f"Content-Length: {len(GOOD)}"
INVALID = (400, "INVALID_ARGUMENT")
TOO_LARGE = (413, "INVALID_ARGUMENT")
MEGABYTE = 2**20


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(chunked(*[bytes([byte]) for byte in GOOD]), id="one byte each"),
        pytest.param(
            b'%x;name=value;quoted="a b"\r\n%b\r\n0;last\r\n\r\n' % (len(GOOD), GOOD), id="extensions"
        ),
        pytest.param(b"000%X\r\n%b\r\n000\r\n\r\n" % (len(GOOD), GOOD), id="leading zeros"),
        pytest.param(chunked(GOOD, trailers=b"X-Sum: 1\r\nX-Other: 2\r\n"), id="trailers"),
        pytest.param(chunked(GOOD.ljust(70_000)), id="one large"),
    ],
)
def test_chunks_in_all_their_forms_are_one_body(server: Harness, body: bytes) -> None:
    with wire(server.address) as one:
        one.send(head(JSON_TYPE, CHUNKED) + body + post(GOOD))
        assert [one.reply().status for _ in range(2)] == [200, 200]


def test_chunks_in_packets_of_their_own(server: Harness) -> None:
    with wire(server.address) as one:
        for byte in head(JSON_TYPE, "transfer-encoding: Chunked") + chunked(GOOD[:3], GOOD[3:]):
            one.send(bytes([byte]))
        assert one.reply().status == 200
        assert one.send(post(GOOD)).reply().status == 200


@pytest.mark.parametrize("body", [b"", b"{"])
def test_a_bad_body_in_chunks_leaves_the_connection_in_step(server: Harness, body: bytes) -> None:
    parts = [body] if body else []
    with wire(server.address) as one:
        one.send(head(JSON_TYPE, CHUNKED) + chunked(*parts) + post(GOOD))
        assert one.reply().error == INVALID
        assert one.reply().status == 200


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"-5\r\nhello\r\n0\r\n\r\n", id="negative"),
        pytest.param(b"0x5\r\nhello\r\n0\r\n\r\n", id="with its base"),
        pytest.param(b"\r\nhello\r\n0\r\n\r\n", id="no size"),
        pytest.param(b"5\r\nhelloXX0\r\n\r\n", id="longer than its size"),
    ],
)
def test_a_chunk_that_is_none_ends_the_connection_without_a_call(server: Harness, body: bytes) -> None:
    counted = server.counted
    with wire(server.address) as one:
        one.send(head(JSON_TYPE, CHUNKED) + body)
        one.refused()
    assert server.counted == counted


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param((LENGTH, "Content-Length: 6"), id="two lengths"),
        pytest.param(("Content-Length: 6", LENGTH), id="two lengths, the right one last"),
        pytest.param((f"{LENGTH}, 6",), id="two lengths in a line"),
        pytest.param((f"Content-Length: +{len(GOOD)}",), id="sign"),
        pytest.param(("Content-Length:",), id="empty length"),
        pytest.param(("Content-Length: " + "9" * 30,), id="30 digits"),
        pytest.param(("Transfer-Encoding: xchunked",), id="unknown encoding"),
        pytest.param(("Transfer-Encoding: identity", LENGTH), id="identity"),
    ],
)
def test_a_body_of_unknown_end_is_not_read(server: Harness, lines: tuple[str, ...]) -> None:
    counted = server.counted
    with wire(server.address) as one:
        one.send(head(JSON_TYPE, *lines) + GOOD)
        one.refused()
    assert server.counted == counted


def test_a_length_with_leading_zeros_is_that_length(server: Harness) -> None:
    with wire(server.address) as one:
        one.send(head(JSON_TYPE, f"Content-Length: 000{len(GOOD)}") + GOOD + post(GOOD))
        assert [one.reply().status for _ in range(2)] == [200, 200]


@pytest.mark.parametrize("lines", [(), ("Content-Length: 0",)])
def test_a_call_without_a_body_leaves_the_connection_in_step(server: Harness, lines: tuple[str, ...]) -> None:
    with wire(server.address) as one:
        one.send(head(JSON_TYPE, *lines) + post(GOOD))
        assert one.reply().error == INVALID
        assert one.reply().status == 200


def test_what_a_length_leaves_over_is_the_next_call_and_none(server: Harness) -> None:
    with wire(server.address) as one:
        one.send(head(JSON_TYPE, f"Content-Length: {len(GOOD) - 1}") + GOOD + post(GOOD))
        assert one.reply().error == INVALID
        one.refused()


@pytest.mark.parametrize(
    "sent",
    [head(JSON_TYPE, f"Content-Length: {len(GOOD) + 1}") + GOOD, head(JSON_TYPE, CHUNKED) + b"5\r\nhel"],
)
def test_a_body_that_is_cut_off_is_not_computed(server: Harness, sent: bytes) -> None:
    counted = server.counted
    with wire(server.address) as one:
        one.send(sent).end()
        assert one.closed()
    wait_until(lambda: server.server.connections == 0)
    assert server.counted == counted


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(head(JSON_TYPE, LENGTH, CHUNKED) + chunked(GOOD), id="served"),
        pytest.param(head(JSON_TYPE, CHUNKED, LENGTH) + chunked(b"{"), id="refused"),
        pytest.param(
            request("POST", "/nowhere", "Content-Length: 3", CHUNKED) + chunked(b"abc"), id="unknown"
        ),
        pytest.param(request("GET", "/health", "Content-Length: 3", CHUNKED) + chunked(b"abc"), id="health"),
    ],
)
def test_after_two_framings_nothing_more_is_read(server: Harness, sent: bytes) -> None:
    counted = server.counted
    with wire(server.address) as one:
        one.send(sent + post(GOOD))
        # A parser may refuse it, too (RFC 9112, 6.3).
        reply = one.reply()
        assert reply.status in (200, 400, 404)
        assert reply.headers["connection"] == "close"
        assert one.closed()
    assert server.counted - counted in (0, 2)  # not the call after it


def test_a_body_of_health_is_read_past(server: Harness) -> None:
    with wire(server.address) as one:
        one.send(request("GET", "/health", body=GOOD) + post(GOOD))
        assert [one.reply().body[:9] for _ in range(2)] == [b'{"status"', b'{"predict']


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(post(bytes(11 * MEGABYTE)), id="length"),
        pytest.param(head(JSON_TYPE, CHUNKED) + chunked(bytes(11 * MEGABYTE)), id="one chunk"),
    ],
)
def test_eleven_megabytes_are_read_past(server: Harness, sent: bytes) -> None:
    free, counted = server.bodies.free, server.counted
    with wire(server.address) as one:
        one.send(sent)
        assert one.reply().error == TOO_LARGE
        assert server.counted == counted
        assert one.send(post(GOOD)).reply().status == 200
    assert server.bodies.free == free


def test_too_large_a_length_is_refused_at_once_and_its_body_read_past(server: Harness) -> None:
    with wire(server.address) as one:
        one.send(head(JSON_TYPE, f"Content-Length: {11 * MEGABYTE}"))
        assert one.reply().error == TOO_LARGE
        one.send(bytes(11 * MEGABYTE) + post(GOOD))
        assert one.reply().status == 200


def test_too_large_chunks_are_refused_before_their_end(server: Harness) -> None:
    with wire(server.address) as one:
        one.send(head(JSON_TYPE, CHUNKED) + chunked(*[bytes(MEGABYTE)] * 3)[:-5])
        assert one.reply().error == TOO_LARGE
        one.send(b"0\r\n\r\n" + post(GOOD))
        assert one.reply().status == 200


def test_eleven_megabytes_to_an_unknown_path_are_read_past(server: Harness) -> None:
    with wire(server.address) as one:
        one.send(request("POST", "/nowhere", JSON_TYPE, body=bytes(11 * MEGABYTE)) + post(GOOD))
        assert one.reply().error == (404, "NOT_FOUND")
        assert one.reply().status == 200


def test_eleven_megabytes_of_who_wants_no_second_call_end_the_connection(server: Harness) -> None:
    free = server.bodies.free
    with wire(server.address) as one, wire(server.address) as other:
        # Part of them may be unread when the connection is closed, which then takes the answer along.
        with suppress(ConnectionError):
            one.send(post(bytes(11 * MEGABYTE), "Connection: close"))
            reply = one.reply()
            assert reply.error == TOO_LARGE
            assert reply.headers["connection"] == "close"
        with suppress(ConnectionError):
            one.closed()
        assert other.send(post(GOOD)).reply().status == 200
    assert server.bodies.free == free
