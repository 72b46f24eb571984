"""Bodies that are not plain JSON: what a decode hook gets, and what is unpacked without one."""

from __future__ import annotations

import gzip
import json
import random
import struct
from typing import Any

import numpy as np
import pytest

from pipeline.io.connectors import as_it_is
from pipeline.job.steps import Decode
from pipeline.pubsub.protos import PubsubMessage
from pipeline.request import compression, json_body
from pipeline.request.errors import DecodeError
from pipeline.request.hooks import Hook
from pipeline.request.input_spec import InputSpec
from pipeline.request.messages import Request
from pipeline.request.wire_format import decode, encode_dead_letter

SPEC = InputSpec.parse("3")
BODY = b'{"features": [1, 2, 3], "request_id": "r", "tenant": "t"}'
PACKED = gzip.compress(BODY, mtime=0)
# Avro's single-object encoding, and a Protocol Buffers message.
AVRO = b"\xc3\x01" + bytes(8) + b"\x06\x00\x00\x80\x3f"
PROTOBUF = b"\x0a\x0c\x00\x00\x80\x3f\x00\x00\x00\x40\x00\x00\x40\x40"
# As random bytes, which may begin as an object does, and have many brackets.
LIKE_JSON = b"{" + b"\xff[" * 50_000
GZIP = {"content-encoding": "gzip"}


def read(data: bytes, attributes: dict[str, str], spec: InputSpec = SPEC) -> Request:
    return decode(data, attributes, spec, received=1.0, message_id="m")


def refusal(data: bytes, attributes: dict[str, str], spec: InputSpec = SPEC) -> str:
    with pytest.raises(DecodeError) as caught:
        read(data, attributes, spec)
    # The dead letter's error_type.
    assert type(caught.value) is DecodeError
    return str(caught.value)


class TestWithAHook:
    @staticmethod
    def given_to_hook(data: bytes, attributes: dict[str, str]) -> Any:
        seen: list[Any] = []

        def function(body: Any, attributes: Any) -> Any:
            seen.append(body)
            return [1, 2, 3]

        hook = Hook("--decode_hook", "my.hooks:decode", function)
        request = decode(data, attributes, SPEC, received=1.0, message_id="m", hook=hook)
        assert request.data == data
        (body,) = seen
        assert (request.request_id == "m") == (body == data)
        return body

    @pytest.mark.parametrize(
        "attributes", [{}, {"content-type": "application/json"}, GZIP, {"content-encoding": "x-avro"}]
    )
    @pytest.mark.parametrize(
        "data",
        [
            PACKED,
            AVRO,
            PROTOBUF,
            LIKE_JSON,
            b"",
            b"text",
            b"[1, 2, 3]",
            b'"text"',
            b"7",
            b"{",
            b"\xef\xbb\xbf{}",
        ],
        ids=lambda data: repr(data[:8]),
    )
    def test_what_is_no_object_comes_as_bytes(self, data: bytes, attributes: dict[str, str]) -> None:
        assert self.given_to_hook(data, attributes) == data

    @pytest.mark.parametrize(
        "attributes",
        [
            GZIP,
            {"content-encoding": "BR"},
            {"content-type": "application/json", "content-encoding": "gzip"},
            {"content-type": "avro/binary"},
            {"googclient_schemaencoding": "BINARY", "googclient_schemaname": "projects/p/schemas/s"},
        ],
    )
    def test_an_encoding_makes_bytes_of_an_object(self, attributes: dict[str, str]) -> None:
        assert self.given_to_hook(BODY, attributes) == BODY

    @pytest.mark.parametrize(
        "attributes",
        [
            {},
            {"content-encoding": ""},
            {"content-encoding": "Identity"},
            {"googclient_schemaencoding": "JSON"},
            {"content-type": "Application/JSON; charset=utf-8"},
        ],
    )
    @pytest.mark.parametrize("space", [b"", b" \r\n\t"])
    def test_else_an_object_is_one(self, attributes: dict[str, str], space: bytes) -> None:
        assert self.given_to_hook(space + BODY, attributes) == json.loads(BODY)

    @pytest.mark.parametrize("brackets", [b"[" * 101 + b"]" * 101, b"[" + b"[]," * 30_000 + b"0]"])
    def test_an_object_that_costs_too_much_is_refused(self, brackets: bytes) -> None:
        with pytest.raises(DecodeError, match="nested more than 100 deep|lists and objects in"):
            self.given_to_hook(b'{"x": ' + brackets + b"}", {})

    @pytest.mark.parametrize(
        ("data", "attributes", "reason"),
        [
            (
                b'{"features": [1',
                {},
                "'bytes' object has no attribute 'pop' (the hook got bytes: not valid JSON: ",
            ),
            (
                b"[1]",
                {},
                "'bytes' object has no attribute 'pop' (the hook got bytes: the JSON is not an object)",
            ),
            (PACKED, GZIP, "'bytes' object has no attribute 'pop'"),
        ],
    )
    def test_a_hook_for_objects_says_what_it_got(
        self, data: bytes, attributes: dict[str, str], reason: str
    ) -> None:
        hook = Hook("--decode_hook", "my.hooks:decode", lambda body, attributes: body.pop("features"))
        with pytest.raises(DecodeError) as caught:
            decode(data, attributes, SPEC, received=1.0, hook=hook)
        assert str(caught.value).startswith(f"{hook}: {reason}")
        assert isinstance(caught.value.__cause__, AttributeError)


@pytest.fixture(params=[1 << 30, -1], ids=["small", "large"])
def size(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_body, "EAGER_BYTES", request.param)
    monkeypatch.setattr(json_body, "_VALUE_BYTES", 0)


class TestWithoutAHook:
    @pytest.mark.usefixtures("size")
    @pytest.mark.parametrize(
        "attributes",
        [
            {},
            GZIP,
            {"content-encoding": " X-GZIP "},
            {"content-type": "application/json; charset=utf-8", "content-encoding": "gzip"},
        ],
    )
    def test_gzip_is_unpacked(self, attributes: dict[str, str]) -> None:
        request = read(PACKED, attributes)
        assert isinstance(request.inputs, np.ndarray)
        assert request.inputs.tolist() == [1, 2, 3]
        assert (request.request_id, request.passthrough) == ("r", b'{"tenant":"t"}')
        assert request.data == PACKED

    def test_raw_gzip_is_unpacked(self) -> None:
        data = struct.pack("<3f", 1, 2.5, 3)
        request = read(gzip.compress(data), {"content-type": "application/x-float32", **GZIP})
        assert isinstance(request.inputs, np.ndarray)
        assert request.inputs.tolist() == [1, 2.5, 3]

    def test_raw_bytes_that_begin_as_gzip_does_are_no_gzip(self) -> None:
        data = b"\x1f\x8b\x00\x00" + struct.pack("<2f", 2, 3)
        request = read(data, {"content-type": "application/x-float32"})
        assert isinstance(request.inputs, np.ndarray)
        assert request.inputs[1:].tolist() == [2, 3]

    def test_raw_of_any_dtype(self) -> None:
        request = read(b"\x00\xff", {"content-type": "application/x-uint8"}, InputSpec.parse("image:uint8:2"))
        assert isinstance(request.inputs, dict)
        assert request.inputs["image"].tolist() == [0, 255]

    @pytest.mark.usefixtures("size")
    @pytest.mark.parametrize("attributes", [{}, GZIP])
    def test_a_bomb_is_a_dead_letter_of_the_bytes_as_they_came(
        self, attributes: dict[str, str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(compression, "MAX_UNPACKED_BYTES", 1_000)
        bomb = gzip.compress(b'{"features": [1, 2, 3], "x": "' + b"x" * 1_000 + b'"}')
        message = PubsubMessage(data=bomb, attributes=attributes)
        (batch,) = Decode(as_it_is, SPEC, 1, clock=lambda: 5.0).process(message)
        (dead,) = batch.value
        letter = encode_dead_letter(dead)
        assert letter.data == bomb
        assert letter.attributes == {
            "error_stage": "decode",
            "error_type": "DecodeError",
            "error_message": f"the body cannot be unpacked: {len(bomb)} bytes of gzip unpack to more than "
            "1,000",
            "failed_at": "5.000000",
            **attributes,
        }

    @pytest.mark.parametrize("attributes", [{}, GZIP])
    def test_what_passes_through_is_bounded_by_the_packed_bytes(self, attributes: dict[str, str]) -> None:
        """Else 4,000 messages of 10 KB, which are held at once, would take 40 GB."""
        fits = b'{"x":"' + b"x" * (compression.FREE_BYTES - 8) + b'"}'
        start = b'{"features": [1, 2, 3], '
        assert read(gzip.compress(start + fits[1:]), attributes).passthrough == fits
        reason = refusal(gzip.compress(start + b'"y":1,' + fits[1:]), attributes)
        assert reason.startswith("the fields that pass through have 65,542 bytes: of a body of ")
        # The same, unpacked.
        assert len(read(start + b'"y":1,' + fits[1:], {}).passthrough) == 65_542
        # Text that is hardly packed may be larger.
        noise = random.Random(1).randbytes(100_000).hex()
        assert (
            noise.encode() in read(gzip.compress(start + f'"x":"{noise}"}}'.encode()), attributes).passthrough
        )

    def test_the_limit_is_that_of_a_message(self) -> None:
        assert compression.MAX_UNPACKED_BYTES == 10_000_000
        body = BODY + b" " * (compression.MAX_UNPACKED_BYTES - len(BODY))
        assert read(gzip.compress(body), GZIP).request_id == "r"
        assert "unpack to more than 10,000,000" in refusal(gzip.compress(body + b" "), GZIP)

    @pytest.mark.usefixtures("size")
    @pytest.mark.parametrize(
        ("data", "attributes", "reason"),
        [
            (BODY, GZIP, "the body cannot be unpacked: not gzip, or damaged: "),
            (PACKED[:-1], GZIP, "the body cannot be unpacked: damaged: the end of the gzip is missing"),
            (PACKED[:-1], {}, "the body cannot be unpacked: damaged: the end of the gzip is missing"),
            (
                PACKED,
                {"content-encoding": "br"},
                "content-encoding 'br' is not supported: send gzip, or none.",
            ),
            (PACKED, {"content-encoding": "gzip, gzip"}, "content-encoding 'gzip, gzip' is not supported"),
            (gzip.compress(PACKED, mtime=0), GZIP, "not UTF-8: byte 0x8b at position 1"),
            (
                gzip.compress(b"[1]", mtime=0),
                GZIP,
                'the JSON is not an object: expected {"features": [3 numbers]}',
            ),
            (
                PROTOBUF,
                {"googclient_schemaencoding": "BINARY"},
                "not UTF-8: byte 0x80 at position 4; by goog",
            ),
            (b"\x02", {"googclient_schemaencoding": "BINARY"}, "not valid JSON: "),
        ],
    )
    def test_the_reason(self, data: bytes, attributes: dict[str, str], reason: str) -> None:
        assert refusal(data, attributes).startswith(reason)

    @pytest.mark.parametrize(
        ("spec", "types"),
        [
            ("3", "send application/json or application/x-float32"),
            ("image:uint8:3", "send application/json or application/x-uint8"),
            ("a:uint8:3,b:uint8:3", "send application/json"),
        ],
    )
    def test_another_content_type(self, spec: str, types: str) -> None:
        reason = refusal(BODY, {"content-type": "image/png"}, InputSpec.parse(spec))
        assert reason == f"content-type 'image/png' is not supported: {types}"
