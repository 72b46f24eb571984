"""Content-Type and Content-Encoding, as they stand in the head: case, parameters, twice, missing."""

from __future__ import annotations

import gzip

import pytest

from tests.serving.bytes_on_socket import chunked, head, post, request, wire
from tests.serving.container import FLOAT32, instances
from tests.serving.harness import Harness
from tests.serving.models import PID

GOOD = instances([PID])
PACKED = gzip.compress(GOOD, mtime=0)
JSON_TYPE = "Content-Type: application/json"
GZIP = "Content-Encoding: gzip"
INVALID = (400, "INVALID_ARGUMENT")
UNSUPPORTED = (415, "INVALID_ARGUMENT")


@pytest.mark.parametrize(
    "line",
    [
        "content-type:application/json",
        "Content-Type:  application/json ",
        "Content-Type: APPLICATION/Json",
        "Content-Type: application/json;",
        "Content-Type: application/json ; charset=utf-8",
        # JSON is UTF-8, whatever is said (RFC 8259, 11).
        "Content-Type: application/json; charset=latin-1",
    ],
)
def test_parameters_and_case_of_json_are_not_read(server: Harness, line: str) -> None:
    with wire(server.address) as one:
        one.send(request("POST", "/predict", line, body=GOOD) + post(GOOD))
        assert [one.reply().status for _ in range(2)] == [200, 200]


def test_parameters_and_case_of_a_raw_type_are_not_read(server: Harness) -> None:
    with wire(server.address) as one:
        reply = one.send(post(bytes(8), content_type="Application/X-Float32; shape=7")).reply()
        assert (reply.status, reply.headers["content-type"]) == (200, f"{FLOAT32}; shape=2")


@pytest.mark.parametrize(
    "lines",
    [
        (),
        ("Content-Type:",),
        ("Content-Type: json",),
        ("Content-Type: text/json",),
        ("Content-Type: */*",),
        ("Content-Type: application/vnd.api+json",),
        ("Content-Type: application/octet-stream",),
        ("Content-Type: application/x-www-form-urlencoded",),
        ("Content-Type: multipart/form-data; boundary=x",),
        ("Content-Type: application/x-int64",),
        ("Content-Type: application/json, text/plain",),
        ("Content-Type: text/plain", JSON_TYPE),
        ("Content-Type: t\xe9xt",),
    ],
)
def test_another_type_is_refused(server: Harness, lines: tuple[str, ...]) -> None:
    with wire(server.address) as one:
        assert one.send(request("POST", "/predict", *lines, body=GOOD)).reply().error == UNSUPPORTED
        assert one.send(post(GOOD)).reply().status == 200


@pytest.mark.parametrize("second", ["application/json", "text/plain"])
def test_of_two_types_the_first_counts(server: Harness, second: str) -> None:
    with wire(server.address) as one:
        one.send(request("POST", "/predict", JSON_TYPE, f"Content-Type: {second}", body=GOOD) + post(GOOD))
        assert [one.reply().status for _ in range(2)] == [200, 200]


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(GOOD.decode().encode("utf-16"), id="UTF-16"),
        pytest.param(b"\xef\xbb\xbf" + GOOD, id="byte order mark"),
        pytest.param(PACKED, id="gzip that is not said"),
    ],
)
def test_json_is_utf_8_without_a_mark(server: Harness, body: bytes) -> None:
    with wire(server.address) as one:
        assert one.send(post(body)).reply().error == INVALID
        assert one.send(post(GOOD)).reply().status == 200


@pytest.mark.parametrize("value", ["GZIP", "x-gzip", "  gzip "])
def test_gzip_is_unpacked(server: Harness, value: str) -> None:
    with wire(server.address) as one:
        one.send(post(PACKED, f"Content-Encoding: {value}") + post(GOOD, "Content-Encoding:"))
        assert [one.reply().status for _ in range(2)] == [200, 200]


def test_gzip_in_chunks_and_of_a_raw_body(server: Harness) -> None:
    raw = gzip.compress(bytes(12), mtime=0)
    with wire(server.address) as one:
        one.send(head(JSON_TYPE, GZIP, "Transfer-Encoding: chunked") + chunked(PACKED[:9], PACKED[9:]))
        assert one.reply().status == 200
        reply = one.send(post(raw, GZIP, content_type=FLOAT32)).reply()
        assert (reply.status, len(reply.body)) == (200, 12)
        assert "content-encoding" not in reply.headers


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(PACKED[:-3], id="cut off"),
        pytest.param(PACKED + b"xx", id="with more behind"),
        pytest.param(b"", id="nothing"),
    ],
)
def test_damaged_gzip_is_refused(server: Harness, body: bytes) -> None:
    with wire(server.address) as one:
        assert one.send(post(body, GZIP)).reply().error == INVALID
        assert one.send(post(PACKED, GZIP)).reply().status == 200


@pytest.mark.parametrize(
    "lines",
    [
        ("Content-Encoding: deflate",),
        ("Content-Encoding: zstd",),
        ("Content-Encoding: gzip, identity",),
        (GZIP, "Content-Encoding: identity"),
    ],
)
def test_other_encodings_are_refused(server: Harness, lines: tuple[str, ...]) -> None:
    with wire(server.address) as one:
        assert one.send(post(PACKED, *lines)).reply().error == UNSUPPORTED
        assert one.send(post(GOOD)).reply().status == 200
