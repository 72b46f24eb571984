"""The container at the edges of HTTP/1.1, as bytes on a socket, whatever parses them."""

from __future__ import annotations

from contextlib import suppress

import pytest

from tests.serving.bytes_on_socket import chunked, head, post, wire
from tests.serving.conftest import Start
from tests.serving.container import Serving, instances, puppet
from tests.serving.models import FAIL, PID

pytestmark = pytest.mark.slow

GOOD = instances([PID])
JSON_TYPE = "Content-Type: application/json"


@pytest.fixture(scope="module")
def serving(start: Start, tmp_path_factory: pytest.TempPathFactory) -> Serving:
    return start(*puppet(tmp_path_factory.mktemp("edges")), "--workers=1", "--max_batch_size=4").ready()


def test_a_body_in_chunks(serving: Serving) -> None:
    with wire(serving.address) as one:
        one.send(head(JSON_TYPE, "Transfer-Encoding: chunked") + chunked(GOOD[:5], GOOD[5:]))
        assert one.reply().status == 200
        # Trailers are read past, and the connection goes on.
        one.send(head(JSON_TYPE, "Transfer-Encoding: chunked") + chunked(GOOD, trailers=b"X-Sum: 1\r\n"))
        assert one.reply().status == 200
        assert one.send(post(GOOD)).reply().status == 200


@pytest.mark.parametrize(
    "lines",
    [
        ("Content-Length: 5", "Content-Length: 6"),
        ("Content-Length: 5", "Content-Length: 5"),
        ("Content-Length: -1",),
        ("Content-Length: 1e3",),
        ("Content-Length: 0x10",),
        ("Transfer-Encoding: gzip",),
        ("Content-Length : 5",),
        ("No colon",),
    ],
)
def test_a_head_that_is_not_http_is_refused_and_the_connection_closed(
    serving: Serving, lines: tuple[str, ...]
) -> None:
    with wire(serving.address) as one:
        reply = one.send(head(JSON_TYPE, *lines) + b"hello").reply()
        assert reply.status in (400, 501)
        assert one.closed()


def test_a_chunk_of_a_wrong_size_closes_the_connection(serving: Serving) -> None:
    with wire(serving.address) as one:
        one.send(head(JSON_TYPE, "Transfer-Encoding: chunked") + b"zz\r\nhello\r\n")
        assert one.reply().status == 400
        assert one.closed()


def test_expect_100_continue(serving: Serving) -> None:
    with wire(serving.address) as one:
        one.send(head(JSON_TYPE, f"Content-Length: {len(GOOD)}", "Expect: 100-continue"))
        assert one.reply().status == 100
        assert one.send(GOOD).reply().status == 200
        assert one.send(post(GOOD)).reply().status == 200


def test_calls_in_one_go_are_answered_in_order_with_a_bad_one_in_the_middle(serving: Serving) -> None:
    with wire(serving.address) as one:
        one.send(post(GOOD) + post(b"{") + post(instances([FAIL])) + post(b"x", content_type="text/plain"))
        one.send(b"GET /health HTTP/1.1\r\nHost: test\r\n\r\n" + post(GOOD))
        assert [one.reply().status for _ in range(6)] == [200, 400, 422, 415, 200, 200]


def test_an_unknown_path_with_a_body_leaves_the_connection_in_step(serving: Serving) -> None:
    with wire(serving.address) as one:
        one.send(post(GOOD).replace(b"/predict", b"/nowhere") + post(GOOD))
        assert [one.reply().status for _ in range(2)] == [404, 200]


def test_bytes_one_by_one(serving: Serving) -> None:
    with wire(serving.address) as one:
        for byte in post(GOOD):
            one.send(bytes([byte]))
        assert one.reply().status == 200


def test_who_resets_or_leaves_in_the_middle_harms_nobody(serving: Serving) -> None:
    for part in (b"", b"POST /pre", head(JSON_TYPE, "Content-Length: 100") + b"half", post(GOOD)):
        with wire(serving.address) as gone:
            gone.send(part).reset()
        with wire(serving.address) as gone:
            gone.send(part)
    assert serving.predict([PID]).status == 200
    assert "Traceback" not in serving.log


def test_eleven_megabytes_are_refused_and_the_connection_goes_on(serving: Serving) -> None:
    with wire(serving.address) as one:
        assert one.send(post(bytes(11 * 2**20))).reply().status == 413
        assert one.send(post(GOOD)).reply().status == 200
        one.send(head(JSON_TYPE, "Transfer-Encoding: chunked") + chunked(*[bytes(2**20)] * 11))
        assert one.reply().status == 413
        assert one.send(post(GOOD)).reply().status == 200


def test_http_1_0_is_answered_and_closed(serving: Serving) -> None:
    with wire(serving.address) as one:
        one.send(head(JSON_TYPE, f"Content-Length: {len(GOOD)}", version="1.0") + GOOD)
        assert one.reply().status == 200
        assert one.closed()


def test_connection_close_is_kept(serving: Serving) -> None:
    with wire(serving.address) as one:
        assert one.send(post(GOOD, "Connection: close")).reply().status == 200
        assert one.closed()


def test_a_head_without_end_is_refused(serving: Serving) -> None:
    with wire(serving.address) as one:
        # Part of it may be unread when the connection is closed, which then takes the answer along.
        with suppress(ConnectionError):
            one.send(b"POST /predict HTTP/1.1\r\nX: " + b"a" * 2**20)
            assert one.reply().status in (400, 431)
        with suppress(ConnectionError):
            assert one.closed()
    assert serving.predict([PID]).status == 200


@pytest.mark.parametrize(
    "call",
    [b"GET /health HTTP/1.1\r\n\r\n", b"BREW /predict HTTP/1.1\r\nHost: test\r\n\r\n"],
    ids=["without a host", "an unknown method"],
)
def test_what_is_not_http_1_1_is_refused(serving: Serving, call: bytes) -> None:
    with wire(serving.address) as one:
        assert one.send(call).reply().status == 400
        assert one.closed()


def test_head_is_get_without_the_body(serving: Serving) -> None:
    with wire(serving.address) as one:
        reply = one.send(b"HEAD /health HTTP/1.1\r\nHost: test\r\n\r\n").reply(bodiless=True)
        assert (reply.status, reply.headers["content-length"]) == (200, "18")
        assert one.send(post(GOOD)).reply().status == 200


@pytest.mark.parametrize(
    ("method", "path", "allow"), [("DELETE", "/health", "GET, HEAD"), ("GET", "/predict", "POST")]
)
def test_another_method_is_told_which_are_served(
    serving: Serving, method: str, path: str, allow: str
) -> None:
    with wire(serving.address) as one:
        reply = one.send(f"{method} {path} HTTP/1.1\r\nHost: test\r\n\r\n".encode()).reply()
        assert (reply.status, reply.headers["allow"]) == (405, allow)
        assert one.send(post(GOOD)).reply().status == 200


@pytest.mark.parametrize("close", [False, True])
def test_an_upgrade_is_ignored_and_the_call_answered(serving: Serving, close: bool) -> None:
    # As Java's client asks with its first call.
    connection = "Connection: Upgrade, HTTP2-Settings" + (", close" if close else "")
    with wire(serving.address) as one:
        call = post(GOOD, connection, "Upgrade: h2c", "HTTP2-Settings: AAEAAEAAAAIAAAAB")
        assert one.send(call[:-3]).send(call[-3:]).reply().status == 200
        if close:
            assert one.closed()
        else:
            assert one.send(post(GOOD)).reply().status == 200


def test_an_upgrade_of_a_body_in_chunks(serving: Serving) -> None:
    with wire(serving.address) as one:
        lines = (JSON_TYPE, "Connection: Upgrade", "Upgrade: h2c", "Transfer-Encoding: chunked")
        one.send(head(*lines) + chunked(GOOD[:5], GOOD[5:]) + post(GOOD))
        assert [one.reply().status for _ in range(2)] == [200, 200]


def test_a_tunnel_is_refused(serving: Serving) -> None:
    with wire(serving.address) as one:
        reply = one.send(b"CONNECT test:80 HTTP/1.1\r\nHost: test:80\r\n\r\n").reply()
        assert reply.status == 404
        assert one.closed()


def test_many_upgrades_in_one_go(serving: Serving) -> None:
    call = b"GET /health HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
    with wire(serving.address) as one:
        one.send(call * 1200)
        assert {one.reply().status for _ in range(1200)} == {200}


def test_a_body_that_goes_wrong_after_its_call_was_refused_closes_the_connection(serving: Serving) -> None:
    with wire(serving.address) as one:
        one.send(head(JSON_TYPE, "Transfer-Encoding: chunked").replace(b"/predict", b"/nowhere"))
        assert one.reply().status == 404
        one.send(b"zz\r\n")
        assert one.closed()
