"""Methods, targets and heads: what is routed, what is refused, and what is no HTTP at all."""

from __future__ import annotations

from contextlib import suppress

import pytest

from tests.serving.bytes_on_socket import head, post, request, wire
from tests.serving.container import instances
from tests.serving.harness import Harness
from tests.serving.models import PID
from tests.waiting import wait_until

GOOD = instances([PID])
JSON_TYPE = "Content-Type: application/json"
NOT_FOUND = (404, "NOT_FOUND")


@pytest.mark.parametrize(
    ("path", "method", "served"),
    [("/predict", method, "POST") for method in ("GET", "OPTIONS", "PUT", "DELETE", "PATCH", "TRACE")]
    + [("/health", method, "GET, HEAD") for method in ("POST", "OPTIONS", "PUT", "DELETE")],
)
def test_other_methods_are_refused(server: Harness, path: str, method: str, served: str) -> None:
    with wire(server.address) as one:
        reply = one.send(request(method, path) + post(GOOD)).reply()
        assert reply.error == (405, "UNIMPLEMENTED")
        assert reply.headers["allow"] == served  # RFC 9110, 15.5.6
        assert one.reply().status == 200


@pytest.mark.parametrize("path", ["/predict", "/health", "/nowhere"])
def test_the_answer_to_head_has_no_body(server: Harness, path: str) -> None:
    with wire(server.address) as one:
        one.send(request("HEAD", path) + post(GOOD))
        reply = one.reply(bodiless=True)
        assert reply.status == {"/predict": 405, "/health": 200, "/nowhere": 404}[path]
        assert reply.headers["content-type"] == "application/json"
        assert one.reply().status == 200


@pytest.mark.parametrize(
    "target", ["/predict?", "/predict?x=1&y", "/predict?a=%zz", "/%70redict", "/predic%74?x"]
)
def test_queries_are_not_read_and_percent_signs_are(server: Harness, target: str) -> None:
    with wire(server.address) as one:
        one.send(request("POST", target, JSON_TYPE, body=GOOD) + request("GET", "/%68ealth?verbose"))
        assert [one.reply().status for _ in range(2)] == [200, 200]


@pytest.mark.parametrize(
    "target",
    [
        "/",
        "/Predict",
        "/predict/",
        "//predict",
        "/./predict",
        "/a/../predict",
        "/predict;v=1",
        "/predict%20",
        "/predict%2F",
        "/predict%3Fx",
        "/predict%00",
        "/%zz",
        "/%ff%fe",
        "/" + "p" * 30_000,
    ],
)
def test_other_paths_are_not_found(server: Harness, target: str) -> None:
    counted = server.counted
    with wire(server.address) as one:
        one.send(request("POST", target, JSON_TYPE, body=GOOD))
        assert one.reply().error == NOT_FOUND
        assert server.counted == counted
        assert one.send(post(GOOD)).reply().status == 200


@pytest.mark.parametrize("target", ["http://test/predict", "http://other.example:80/predict?x=1"])
def test_an_absolute_target_leaves_the_connection_in_step(server: Harness, target: str) -> None:
    with wire(server.address) as one:
        one.send(request("POST", target, JSON_TYPE, body=GOOD) + request("GET", "/health"))
        # RFC 9112 (3.2.2) wants it to be served.
        assert one.reply().status in (200, 404)
        assert one.reply().status == 200


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"PO ST /predict HTTP/1.1\r\nHost: test\r\n\r\n", id="space in the method"),
        pytest.param(b"G@T /health HTTP/1.1\r\nHost: test\r\n\r\n", id="method that is no token"),
        pytest.param(b"G\0T /health HTTP/1.1\r\nHost: test\r\n\r\n", id="zero byte in the method"),
        pytest.param(b" GET /health HTTP/1.1\r\nHost: test\r\n\r\n", id="space in front"),
        pytest.param(b"GET /he alth HTTP/1.1\r\nHost: test\r\n\r\n", id="space in the path"),
        pytest.param(b"GET /health http/1.1\r\nHost: test\r\n\r\n", id="version in lower case"),
        pytest.param(b"GET /health HTTP/11\r\nHost: test\r\n\r\n", id="version without a dot"),
        pytest.param(b"hello there\r\n\r\n", id="text"),
        pytest.param(bytes(64), id="zeros"),
        pytest.param(bytes(range(256)) * 2, id="all bytes"),
        pytest.param(b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\r\n" + post(GOOD), id="PROXY protocol"),
        # A record of a TLS 1.2 handshake with a client hello, as far as it takes to see that it is one.
        pytest.param(bytes.fromhex("16030100a5010000a10303") + bytes(160), id="TLS"),
        pytest.param(head(JSON_TYPE, "X Y: 1"), id="space in a name"),
        pytest.param(head(JSON_TYPE, "X(a): 1"), id="name that is no token"),
        pytest.param(head(JSON_TYPE, ": 1"), id="no name"),
        pytest.param(head(JSON_TYPE, "X: a\0b"), id="zero byte in a value"),
        pytest.param(head(JSON_TYPE, "X: a\rb"), id="bare CR in a value"),
    ],
)
def test_what_is_no_http_is_refused_and_harms_nobody(server: Harness, sent: bytes) -> None:
    counted = server.counted
    with wire(server.address) as one, wire(server.address) as other:
        one.send(sent).refused()
        assert server.counted == counted
        assert other.send(post(GOOD)).reply().status == 200


@pytest.mark.parametrize("lines", [(), ("Host: a", "Host: b"), ("Host: a", "Host: a")])
def test_http_1_1_has_one_host(server: Harness, lines: tuple[str, ...]) -> None:
    with wire(server.address) as one:
        one.send("\r\n".join(["GET /health HTTP/1.1", *lines, "", ""]).encode()).refused()


def test_a_preface_of_http_2_ends_the_connection(server: Harness) -> None:
    with wire(server.address) as one:
        one.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes.fromhex("000000040000000000"))
        assert one.reply().status in (400, 404, 505)
        one.closed()


@pytest.mark.parametrize("value", ["h2c", "websocket"])
def test_an_upgrade_is_not_made(server: Harness, value: str) -> None:
    with wire(server.address) as one:
        one.send(post(GOOD, "Connection: Upgrade", f"Upgrade: {value}") + post(GOOD))
        assert [one.reply().status for _ in range(2)] == [200, 200]


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param(("X: " + "a" * 30_000,), id="a large one"),
        pytest.param(("X: 1",) * 100, id="a hundred"),
        pytest.param(("X: \xe9\xff",), id="beyond ASCII"),
        pytest.param(("X:\ta\tb",), id="tabs"),
        pytest.param(("X_Y: 1",), id="underscore"),
        pytest.param(("X:",), id="empty"),
        pytest.param(
            ("Range: bytes=0-1", "Accept: text/html", "Accept-Encoding: gzip", "TE: trailers"), id="unread"
        ),
    ],
)
def test_headers_that_nobody_reads_change_nothing(server: Harness, lines: tuple[str, ...]) -> None:
    with wire(server.address) as one:
        reply = one.send(request("POST", "/predict", JSON_TYPE, *lines, body=GOOD)).reply()
        assert (reply.status, reply.headers["content-type"]) == (200, "application/json")
        assert "content-encoding" not in reply.headers
        assert one.send(post(GOOD)).reply().status == 200


def test_a_head_of_too_many_headers_ends_the_connection(server: Harness) -> None:
    with wire(server.address) as one, wire(server.address) as other:
        # Part of it may be unread when the connection is closed, which then takes the answer along.
        with suppress(ConnectionError):
            one.send(b"GET /health HTTP/1.1\r\nHost: test\r\n" + b"X: 1\r\n" * 200_000)
            one.refused()
        wait_until(lambda: server.server.connections == 1)
        assert other.send(post(GOOD)).reply().status == 200
