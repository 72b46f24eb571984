"""What a client may cost the others, in time and memory: bytes on a socket, with limits that tests lower."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.request.input_spec import InputSpec
from serving.errors import Refusal
from serving.limits import MAX_BODY_BYTES, BodyBuffer, Limits, body_limit
from tests.serving.bytes_on_socket import chunked, head, post, wire
from tests.serving.container import FLOAT32, call, instances
from tests.serving.harness import Harness
from tests.serving.models import PID, WAIT
from tests.waiting import LIMIT_S, wait_until

GOOD = instances([PID])
JSON_TYPE = "Content-Type: application/json"
# None is near: each test lowers its own.
FAR = Limits(silence_s=LIMIT_S, head_s=LIMIT_S, body_s=LIMIT_S, answer_s=LIMIT_S)
SHORT_S = 0.3

Serve = Callable[[Limits], Harness]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    with ExitStack() as running:

        def start(limits: Limits) -> Harness:
            harness = Harness(tmp_path, limits)
            running.callback(harness.close)
            running.callback((tmp_path / "gate").touch)
            return harness

        yield start


def test_a_silent_connection_is_closed(serve: Serve) -> None:
    harness = serve(replace(FAR, silence_s=SHORT_S))
    with wire(harness.address) as one:
        assert one.closed()


@pytest.mark.parametrize(
    ("sent", "part"),
    [
        (b"P", "head"),
        (b"POST /predict HTTP/1.1\r\nHost: test\r\n", "head"),
        (post(GOOD)[:-1], "body"),
        (head(JSON_TYPE, "Transfer-Encoding: chunked") + b"5\r\nhel", "body"),
        (head(JSON_TYPE, "Transfer-Encoding: chunked") + chunked(GOOD)[:-2], "body"),
    ],
)
def test_a_call_that_does_not_arrive_is_answered_with_408(serve: Serve, sent: bytes, part: str) -> None:
    limits = replace(FAR, head_s=SHORT_S) if part == "head" else replace(FAR, body_s=SHORT_S)
    harness = serve(limits)
    with wire(harness.address) as one:
        # The second call on a connection, too.
        reply = one.send(post(GOOD) + sent).reply()
        assert reply.status == 200
        reply = one.reply()
        assert (reply.status, reply.headers["connection"]) == (408, "close")
        assert f"the {part} of the call was not complete" in reply.body.decode()
        assert one.closed()
    wait_until(lambda: harness.server.calls == 0)
    assert harness.counted == 2


def test_bytes_that_trickle_win_no_time(serve: Serve) -> None:
    harness = serve(replace(FAR, head_s=SHORT_S))
    with wire(harness.address) as one, suppress(ConnectionError):
        one.send(b"POST /predict HTTP/1.1\r\n")
        while not harness.closed:
            one.send(b"X: y\r\n")
    assert harness.closed == 1


def test_a_body_that_nobody_reads_ends_too(serve: Serve) -> None:
    harness = serve(replace(FAR, body_s=SHORT_S))
    with wire(harness.address) as one:
        one.send(head(JSON_TYPE, "Content-Length: 100").replace(b"/predict", b"/nowhere") + b"some")
        assert one.reply().status == 404
        assert one.closed()


def test_a_connection_between_two_calls_may_rest(serve: Serve) -> None:
    limits = Limits(silence_s=SHORT_S, head_s=SHORT_S, body_s=SHORT_S, answer_s=SHORT_S)
    harness = serve(limits)
    with wire(harness.address) as resting, wire(harness.address) as begun:
        assert resting.send(post(GOOD)).reply().status == 200
        assert begun.closed()  # so that long it has rested
        assert resting.send(post(GOOD)).reply().status == 200


def test_a_call_that_waits_for_the_model_is_not_timed(serve: Serve, tmp_path: Path) -> None:
    harness = serve(Limits(silence_s=SHORT_S, head_s=SHORT_S, body_s=SHORT_S, answer_s=SHORT_S))
    with wire(harness.address) as waiting, wire(harness.address) as begun:
        waiting.send(post(instances([WAIT])))
        wait_until((tmp_path / "entered").exists)
        assert begun.closed()
        (tmp_path / "gate").touch()
        assert waiting.reply().status == 200


@pytest.mark.slow
def test_who_takes_no_answers_is_cut_off(serve: Serve) -> None:
    harness = serve(replace(FAR, answer_s=SHORT_S))
    with wire(harness.address) as one:
        one.socket.settimeout(0.05)
        while not harness.closed:
            with suppress(TimeoutError, ConnectionError):
                one.socket.send(b"GET /health HTTP/1.1\r\nHost: test\r\n\r\n" * 100)
    assert harness.closed == 1


def test_the_memory_for_bodies_is_bounded(serve: Serve) -> None:
    largest = body_limit(InputSpec.parse("1"), 4)
    harness = serve(replace(FAR, buffered_bytes=largest))
    with wire(harness.address) as one, wire(harness.address) as two:
        unfinished = head(f"Content-Type: {FLOAT32}", f"Content-Length: {largest}")
        one.send(unfinished + bytes(largest - 100))
        wait_until(lambda: harness.bodies.free <= 100)
        reply = two.send(post(GOOD.ljust(200))).reply()
        assert (reply.status, reply.headers["retry-after"]) == (503, "1")
        # What is small enough still fits.
        assert two.send(post(GOOD)).reply().status == 200
        one.reset()
        wait_until(lambda: harness.bodies.free == largest)
        assert two.send(post(GOOD.ljust(200))).reply().status == 200


def test_what_an_answered_call_held_is_free_again(serve: Serve) -> None:
    harness = serve(FAR)
    free = harness.bodies.free
    for body in (GOOD, b"{", bytes(2 * 2**20), instances([PID, PID])):
        harness.predict(body)
    assert harness.bodies.free == free


def test_one_more_connection_takes_the_place_of_the_one_that_rested_longest(serve: Serve) -> None:
    harness = serve(replace(FAR, connections=2))
    with ExitStack() as open_ones:
        first, second = (open_ones.enter_context(wire(harness.address)) for _ in range(2))
        assert second.send(post(GOOD)).reply().status == 200
        assert first.send(post(GOOD)).reply().status == 200
        third = open_ones.enter_context(wire(harness.address))
        assert third.send(post(GOOD)).reply().status == 200
        assert second.closed()
        assert first.send(post(GOOD)).reply().status == 200


def test_a_length_that_is_too_large_is_refused_before_the_body(serve: Serve) -> None:
    harness = serve(FAR)
    with wire(harness.address) as one:
        one.send(head(JSON_TYPE, f"Content-Length: {11 * 2**20}", "Expect: 100-continue"))
        assert one.reply().status == 413


@pytest.mark.parametrize("body", [GOOD, b"{"])
def test_a_call_with_two_framings_is_refused_and_the_connection_closed(serve: Serve, body: bytes) -> None:
    harness = serve(FAR)
    with wire(harness.address) as one:
        one.send(head(JSON_TYPE, "Content-Length: 3", "Transfer-Encoding: chunked") + chunked(body))
        one.send(post(GOOD))  # which might be half of a body to the server before this one
        reply = one.reply()
        assert (reply.status, reply.headers["connection"]) == (400, "close")
        assert one.closed()
    assert harness.counted == 0


@pytest.mark.parametrize("path", ["/predict", "/" + "p" * 10_000])
def test_messages_quote_little(serve: Serve, path: str) -> None:
    answer = call(serve(FAR).address, "POST", path, b"x", "t" * 10_000)
    assert answer.status in (404, 415)
    assert len(answer.body) < 400


def test_the_largest_body_follows_from_the_batch() -> None:
    thirty, image = InputSpec.parse("30"), InputSpec.parse("3x224x224")
    assert body_limit(thirty, 1) == body_limit(thirty, 100) == 3 * 2**19
    assert body_limit(thirty, 1024) == 1024 * (1024 + 64 * 30)
    assert body_limit(image, 1024) == MAX_BODY_BYTES


def test_a_buffer_that_is_smaller_than_one_body_takes_one() -> None:
    buffer = BodyBuffer(body_bytes=10, all_bytes=1)
    body, other = buffer.body(), buffer.body()
    body.add(b"12345")
    body.add(b"67890")
    with pytest.raises(Refusal) as caught:
        body.add(b"1")
    assert caught.value.status == 413
    assert body.joined() == b"1234567890"
    with pytest.raises(Refusal) as caught:
        other.add(b"1")
    assert caught.value.status == 503
    body.release()
    other.add(b"1")
