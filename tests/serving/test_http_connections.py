"""The life of a connection: Expect, several calls in one go, slow and lost clients, how it ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.serving.bytes_on_socket import Wire, chunked, head, post, request, wire
from tests.serving.container import instances
from tests.serving.harness import Harness
from tests.serving.models import FAIL, PID, WAIT
from tests.waiting import wait_until

GOOD = instances([PID])
JSON_TYPE = "Content-Type: application/json"
CHUNKED = "Transfer-Encoding: chunked"
LENGTH = f"Content-Length: {len(GOOD)}"
EXPECT = "Expect: 100-continue"


@contextmanager
def call_in_the_model(server: Harness, folder: Path) -> Iterator[Wire]:
    """Yield a connection whose call the model computes until the context is left."""
    for name in ("entered", "gate"):
        (folder / name).unlink(missing_ok=True)
    with wire(server.address) as one:
        one.send(post(instances([WAIT])))
        wait_until((folder / "entered").exists)
        try:
            yield one
        finally:
            (folder / "gate").touch()


@pytest.mark.parametrize("expect", [EXPECT, "expect: 100-Continue"])
def test_who_expects_100_in_front_of_chunks_gets_it_once(server: Harness, expect: str) -> None:
    with wire(server.address) as one:
        assert one.send(head(JSON_TYPE, CHUNKED, expect)).reply().status == 100
        one.send(chunked(GOOD[:4], GOOD[4:]) + post(GOOD))
        assert [one.reply().status for _ in range(2)] == [200, 200]


@pytest.mark.parametrize("path", ["/nowhere", "/health"])
def test_a_refused_call_gets_no_100_and_its_body_is_read_past(server: Harness, path: str) -> None:
    status = {"/nowhere": (404, "NOT_FOUND"), "/health": (405, "UNIMPLEMENTED")}[path]
    with wire(server.address) as one:
        one.send(request("POST", path, LENGTH, EXPECT))
        assert one.reply().error == status
        one.send(GOOD + post(GOOD))
        assert one.reply().status == 200


def test_before_the_model_is_loaded_nobody_is_asked_for_a_body(server: Harness) -> None:
    server.service.loaded = False
    try:
        with wire(server.address) as one:
            one.send(head(JSON_TYPE, LENGTH, EXPECT))
            reply = one.reply()
            assert reply.error == (503, "UNAVAILABLE")
            assert reply.headers["retry-after"] == "1"
    finally:
        server.service.loaded = True


def test_http_1_0_gets_no_100(server: Harness) -> None:
    with wire(server.address) as one:
        one.send(head(JSON_TYPE, LENGTH, EXPECT, version="1.0") + GOOD)
        assert one.reply().status == 200
        assert one.closed()


def test_an_expectation_that_is_not_known_is_read_past(server: Harness) -> None:
    with wire(server.address) as one:
        one.send(head(JSON_TYPE, LENGTH, "Expect: 200-ok") + GOOD + post(GOOD))
        assert [one.reply().status for _ in range(2)] == [200, 200]


def test_many_calls_in_one_go_are_answered_in_order(server: Harness) -> None:
    counts = [1, 2, 3, 4] * 10
    with wire(server.address) as one:
        one.send(b"".join(post(instances(*[[PID]] * count)) for count in counts))
        assert [one.reply().body.count(b".") for _ in counts] == counts


def test_after_what_is_no_http_the_calls_before_are_answered_and_none_behind(server: Harness) -> None:
    counted = server.counted
    with wire(server.address) as one:
        one.send(post(GOOD) + post(instances([FAIL])) + b"\x01\x02\r\n\r\n" + post(GOOD))
        assert one.reply().status == 200
        assert one.reply().error == (422, "INVALID_ARGUMENT")
        one.refused()
    assert server.counted == counted + 4


def test_calls_in_one_go_with_a_refused_length_in_the_middle(server: Harness) -> None:
    large = head(JSON_TYPE, f"Content-Length: {2 * 2**20}") + bytes(2 * 2**20)
    with wire(server.address) as one:
        one.send(post(GOOD) + large + request("PUT", "/predict", body=GOOD) + post(GOOD))
        assert [one.reply().status for _ in range(4)] == [200, 413, 405, 200]


def test_a_connection_goes_on_after_each_error(server: Harness) -> None:
    with wire(server.address) as one:
        for sent, error in [
            (post(b"{"), (400, "INVALID_ARGUMENT")),
            (request("POST", "/nowhere", body=GOOD), (404, "NOT_FOUND")),
            (request("GET", "/predict"), (405, "UNIMPLEMENTED")),
            (post(instances(*[[PID]] * 5)), (413, "INVALID_ARGUMENT")),
            (post(GOOD, content_type="text/plain"), (415, "INVALID_ARGUMENT")),
            (post(instances([FAIL])), (422, "INVALID_ARGUMENT")),
        ]:
            reply = one.send(sent).reply()
            assert reply.error == error
            assert "connection" not in reply.headers
        assert one.send(post(GOOD)).reply().status == 200


def test_a_head_byte_by_byte_and_a_body_in_two_halves_hold_nobody_up(server: Harness) -> None:
    with wire(server.address) as slow, wire(server.address) as other:
        for byte in head(JSON_TYPE, LENGTH):
            slow.send(bytes([byte]))
        slow.send(GOOD[:7])
        assert other.send(post(GOOD)).reply().status == 200
        assert slow.send(GOOD[7:]).reply().status == 200
        assert slow.send(post(GOOD)).reply().status == 200


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(head(JSON_TYPE, LENGTH)[:-2], id="head"),
        pytest.param(head(JSON_TYPE, LENGTH) + GOOD[:7], id="body"),
        pytest.param(head(JSON_TYPE, CHUNKED) + b"5\r\nhel", id="chunk"),
        pytest.param(head(JSON_TYPE, LENGTH, EXPECT), id="expecting 100"),
    ],
)
def test_a_reset_while_a_call_comes_costs_no_call_of_the_model(server: Harness, sent: bytes) -> None:
    free, counted = server.bodies.free, server.counted
    with wire(server.address) as gone, wire(server.address) as other:
        gone.send(sent)
        assert other.send(post(GOOD)).reply().status == 200
        gone.reset()
        wait_until(lambda: server.server.connections == 1)
        assert other.send(post(GOOD)).reply().status == 200
    assert server.counted == counted + 4
    wait_until(lambda: (server.bodies.free, server.server.calls) == (free, 0))


def test_a_reset_while_its_answer_is_computed_harms_nobody(server: Harness, folder: Path) -> None:
    free = server.bodies.free
    with call_in_the_model(server, folder) as gone, wire(server.address) as other:
        other.send(post(GOOD))
        gone.reset()
        wait_until(lambda: server.server.connections == 1)
        (folder / "gate").touch()
        assert other.reply().status == 200
        assert other.send(post(GOOD)).reply().status == 200
    wait_until(lambda: (server.bodies.free, server.server.calls) == (free, 0))


def test_calls_behind_one_that_is_computed_are_answered_after_it(server: Harness, folder: Path) -> None:
    with call_in_the_model(server, folder) as one, wire(server.address) as other:
        one.send(request("GET", "/health") + post(b"{") + post(GOOD))
        assert other.send(request("GET", "/health")).reply().status == 200
        (folder / "gate").touch()
        assert [one.reply().status for _ in range(4)] == [200, 200, 400, 200]


@pytest.mark.parametrize("value", ["close", "Close", "keep-alive, close", "close, x"])
def test_close_is_honoured_and_said(server: Harness, value: str) -> None:
    line = f"Connection: {value}"
    for sent, status in [
        (post(GOOD, line), 200),
        (post(b"{", line), 400),
        (request("POST", "/nowhere", line), 404),
        (request("GET", "/predict", line), 405),
        (request("GET", "/health", line), 200),
    ]:
        with wire(server.address) as one:
            reply = one.send(sent).reply()
            assert (reply.status, reply.headers["connection"]) == (status, "close")
            assert one.closed()


@pytest.mark.parametrize("value", ["keep-alive", "x"])
def test_another_connection_option_leaves_it_open(server: Harness, value: str) -> None:
    with wire(server.address) as one:
        one.send(post(GOOD, f"Connection: {value}") + post(GOOD))
        assert [one.reply().status for _ in range(2)] == [200, 200]


@pytest.mark.parametrize("lines", [(), ("Connection: keep-alive",)])
def test_http_1_0_is_closed_after_each_answer(server: Harness, lines: tuple[str, ...]) -> None:
    for body, status in ((GOOD, 200), (b"{", 400)):
        length = f"Content-Length: {len(body)}"
        with wire(server.address) as one:
            reply = one.send(head(JSON_TYPE, length, *lines, version="1.0") + body).reply()
            assert (reply.status, reply.headers["connection"]) == (status, "close")
            assert "transfer-encoding" not in reply.headers
            assert one.closed()


def test_http_1_0_needs_no_host(server: Harness) -> None:
    with wire(server.address) as one:
        assert one.send(b"GET /health HTTP/1.0\r\n\r\n").reply().status == 200
        assert one.closed()
