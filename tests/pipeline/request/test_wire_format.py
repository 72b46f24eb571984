import contextlib
import json
import struct
from typing import Any

import numpy as np
import pytest
from google.pubsub_v1 import types
from hypothesis import given
from hypothesis import strategies as st

from pipeline.pubsub.limits import MAX_MESSAGE_BYTES
from pipeline.request.errors import DecodeError, EncodeError
from pipeline.request.input_spec import InputSpec
from pipeline.request.messages import DeadLetter, Request, Result, Timeline
from pipeline.request.wire_format import (
    CALL_OVERHEAD_BYTES,
    attribute_bytes,
    decode,
    encode,
    encode_dead_letter,
)

SPEC = InputSpec.parse("3")
KEYS = ["features", "inputs", "request_id", "message_id", "prediction", "x", "y"]
GOOD = b'{"features": [1, 2.5, -3e2]}'


def decoded(data: bytes, spec: InputSpec = SPEC, message_id: str | None = None, **attributes: str) -> Request:
    named = {name.replace("_type", "-type"): value for name, value in attributes.items()}
    return decode(data, named, spec, received=2.0, published=1.0, message_id=message_id)


def refusal(data: bytes, spec: InputSpec = SPEC, **attributes: str) -> str:
    with pytest.raises(DecodeError) as caught:
        decoded(data, spec, **attributes)
    return str(caught.value)


def result(prediction: object, **request: object) -> Result:
    fields: dict[str, Any] = {
        "request_id": "r1",
        "inputs": np.zeros(3),
        "data": GOOD,
        "attributes": {},
        "passthrough": b"{}",
        "timeline": Timeline(1.0, 1.25, 1.25, 1.5, 1.75, server_ms=125.5),
    }
    return Result(Request(**{**fields, **request}), prediction, "model@1", 7)


class TestDecode:
    def test_json(self) -> None:
        request = decoded(b'{"features": [1, 2.5, -3e2], "label": 1, "record_id": "a"}', request_id="r1")
        assert request.inputs.dtype == np.float32  # type: ignore[union-attr]
        assert request.inputs.tolist() == [1.0, 2.5, -300.0]  # type: ignore[union-attr]
        assert request.passthrough == b'{"label":1,"record_id":"a"}'
        assert request.request_id == "r1"
        assert (request.timeline.published, request.timeline.received) == (1.0, 2.0)

    def test_float32_is_not_copied(self) -> None:
        data = struct.pack("<3f", 1, 2.5, -300)
        request = decoded(data, content_type="application/x-float32")
        assert isinstance(request.inputs, np.ndarray)
        assert request.inputs.tolist() == [1.0, 2.5, -300.0]
        assert np.shares_memory(request.inputs, np.frombuffer(data, np.uint8))

    def test_named_inputs(self) -> None:
        spec = InputSpec.parse("ids:int64:2,scale:float32:1")
        request = decoded(b'{"inputs": {"ids": [1, 9007199254740993], "scale": [0.5]}}', spec)
        assert isinstance(request.inputs, dict)
        assert request.inputs["ids"].tolist() == [1, 9007199254740993]
        assert request.inputs["scale"].dtype == np.float32

    @pytest.mark.parametrize(
        ("body", "attribute", "message_id", "expected"),
        [
            ('"request_id": "b", "message_id": "m"', "a", "p", "a"),
            ('"request_id": "b", "message_id": "m"', None, "p", "b"),
            ('"message_id": 17', None, "p", "17"),
            ('"x": 1', None, "p", "p"),
        ],
    )
    def test_id(self, body: str, attribute: str | None, message_id: str, expected: str) -> None:
        data = f'{{"features": [1, 2, 3], {body}}}'.encode()
        attributes = {"request_id": attribute} if attribute else {}
        assert decoded(data, SPEC, message_id, **attributes).request_id == expected

    def test_id_without_any_is_the_same_for_the_same_bytes(self) -> None:
        first, again, other = decoded(GOOD), decoded(GOOD), decoded(GOOD + b" ")
        assert first.request_id == again.request_id != other.request_id

    def test_unknown_publish_time_is_none(self) -> None:
        request = decode(GOOD, {}, SPEC, received=2.0)
        assert request.timeline.published is None

    @pytest.mark.parametrize(
        ("data", "reason"),
        [
            (b"", "the message is empty"),
            (b"\xff\xfe{}", "not UTF-8: byte 0xff at position 0"),
            (b'{"features": [1, 2', "not valid JSON"),
            (b"[1, 2, 3]", "not an object"),
            (b"{}", 'no "features"'),
            (b'{"features": [1, 2]}', "expected 3 numbers, got 2"),
            (b'{"features": 5}', "expected a list of 3, got the number 5"),
            (b'{"features": null}', "got null"),
            (b'{"features": [1, [2], 3]}', "features[1]: expected a number, got a list"),
            (b'{"features": [1, "2", 3]}', "features[1]: expected a number, got the string '2'"),
            (b'{"features": [1, 2, null]}', "features[2]: expected a number, got null"),
            (b'{"features": [true, 2, 3]}', "features[0]: expected a number, got true"),
            (b'{"features": [1, NaN, 3]}', "no NaN"),
            (b'{"features": [1, -Infinity, 3]}', "no NaN and no Infinity"),
            (b'{"features": [1, 1e39, 3]}', "features[1]: 1e+39 is too large for float32"),
            (b'{"features": [1, 2, 3], "prediction": 4}', "a field called prediction"),
            (b'{"features": [1, 2, 3], "request_id": [1]}', "request_id: expected a string"),
            (b'{"features": [1, 2, 3], "request_id": "%s"}' % (b"x" * 1025), "longer than 1024 bytes"),
            (b"[" * 1000 + b"]" * 1000, "not an object"),
            (b'{"features": ' + b"[" * 1000 + b"]" * 1000 + b"}", "nested more than 100 deep"),
            (b"[" * 100_000, "nested more than 100 deep"),
            (b"1" * 9_000_000, "not an object"),
            (b'{"features": [1, 2, ' + b"9" * 9_000_000 + b"]}", "not valid JSON"),
        ],
        ids=lambda value: str(value)[:40],
    )
    def test_refuses(self, data: bytes, reason: str) -> None:
        assert reason in refusal(data)

    @pytest.mark.parametrize(
        ("data", "content_type", "reason"),
        [
            (GOOD, "text/csv", "content-type 'text/csv' is not supported"),
            (b"\0" * 11, "application/x-float32", "body of 11 bytes: float32 of shape 3 takes 12"),
            (struct.pack("<3f", 1, float("nan"), 3), "application/x-float32", "features[1]: nan"),
        ],
    )
    def test_refuses_by_content_type(self, data: bytes, content_type: str, reason: str) -> None:
        assert reason in refusal(data, content_type=content_type)

    def test_content_type_may_carry_a_charset(self) -> None:
        assert decoded(GOOD, content_type="Application/JSON; charset=utf-8").inputs is not None

    def test_refusal_carries_the_id(self) -> None:
        with pytest.raises(DecodeError) as caught:
            decoded(b'{"request_id": "b", "features": []}', message_id="p")
        assert caught.value.request_id == "b"

    @given(
        st.binary() | st.recursive(
            st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
            lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(KEYS), inner),
        ).map(lambda value: json.dumps(value).encode()),
        st.sampled_from(["application/json", "application/x-float32", "", "a;b"]),
        st.sampled_from(["3", "1x2", "x:int64:1,y:float32:2"]),
    )  # fmt: skip
    def test_any_bytes_decode_or_are_refused(self, data: bytes, content_type: str, shape: str) -> None:
        spec = InputSpec.parse(shape)
        with contextlib.suppress(DecodeError):
            inputs = decoded(data, spec, content_type=content_type).inputs
            arrays = inputs if isinstance(inputs, dict) else {"features": inputs}
            for tensor in spec.tensors:
                assert arrays[tensor.name].shape == tensor.shape
                assert arrays[tensor.name].dtype == tensor.dtype
                assert np.isfinite(arrays[tensor.name]).all()


class TestEncode:
    def test_nan_and_infinity_are_null(self) -> None:
        """As they come through with --allow_nan=true: JSON has neither."""
        prediction = {"a": np.array([1.5, np.nan, -np.inf], np.float32), "b": np.float64("nan")}
        body = json.loads(encode(result(prediction), 2.0).data)
        assert body["prediction"] == {"a": [1.5, None, None], "b": None}

    def test_everything_is_in_the_result(self) -> None:
        message = encode(
            result(
                np.float32(0.1), attributes={"intended_time": "0.5", "x": "y"}, passthrough=b'{"label": 1}'
            ),
            2.0,
        )
        assert json.loads(message.data) == {
            "request_id": "r1",
            "prediction": 0.1,
            "model_id": "model@1",
            "batch_size": 7,
            "timing": {
                "published": 1.0,
                "received": 1.25,
                "batched": 1.25,
                "inference_start": 1.5,
                "inference_end": 1.75,
                "emitted": 2.0,
            },
            "latency_ms": {
                "queue": 250.0,
                "batch_wait": 250.0,
                "inference": 250.0,
                "server": 125.5,
                "total": 1000.0,
            },
            "passthrough": {"label": 1},
        }
        assert message.attributes == {"request_id": "r1", "model_id": "model@1", "intended_time": "0.5"}

    def test_unknown_publish_time_stays_unknown(self) -> None:
        latency = json.loads(encode(result(1, timeline=Timeline(received=1.0)), 2.0).data)["latency_ms"]
        assert latency == dict.fromkeys(("queue", "batch_wait", "inference", "server", "total"))

    def test_arrays_and_named_outputs(self) -> None:
        message = encode(result({"scores": np.array([[1, 2], [3, 4]], np.float32), "best": np.int64(3)}), 2.0)
        assert json.loads(message.data)["prediction"] == {"scores": [[1, 2], [3, 4]], "best": 3}

    def test_too_large_for_pubsub(self) -> None:
        with pytest.raises(EncodeError, match="Pub/Sub takes 10,000,000 at most") as caught:
            encode(result("x" * MAX_MESSAGE_BYTES), 2.0)
        assert caught.value.request_id == "r1"

    @pytest.mark.parametrize("room", [-1, 0])
    def test_at_the_very_limit(self, room: int) -> None:
        """The largest result leaves room for its attributes and for the Publish call."""
        attributes = {"request_id": "r" * 1000, "intended_time": "9" * 1000}
        made = result("", request_id="r" * 1000, attributes=attributes)
        empty = encode(made, 2.0)
        size = len(empty.data) + CALL_OVERHEAD_BYTES + attribute_bytes(empty.attributes)
        made.prediction = "x" * (MAX_MESSAGE_BYTES - size - room)
        with pytest.raises(EncodeError) if room < 0 else contextlib.nullcontext():
            encode(made, 2.0)

    def test_milliseconds_are_whole_microseconds(self) -> None:
        timeline = Timeline(1.0, 1.0000126, None, 1.1, 1.3000004)
        latency = json.loads(encode(result(1, timeline=timeline), 2.0123456).data)["latency_ms"]
        assert (latency["queue"], latency["inference"], latency["total"]) == (0.013, 200.0, 1012.346)

    def test_what_json_cannot_hold(self) -> None:
        with pytest.raises(EncodeError, match="cannot be written as JSON"):
            encode(result(object()), 2.0)


class TestDeadLetter:
    @staticmethod
    def letter(data: bytes = b"\xff\0bytes", message: str = "why", **attributes: str) -> DeadLetter:
        return DeadLetter(data, attributes, "decode", "DecodeError", message, 5.0, "r1")

    def test_keeps_bytes_and_attributes_and_says_why(self) -> None:
        message = encode_dead_letter(self.letter(tenant="a", googclient_x="b", error_stage="forged"))
        assert message.data == b"\xff\0bytes"
        assert message.attributes == {
            "tenant": "a",
            "error_stage": "decode",
            "error_type": "DecodeError",
            "error_message": "why",
            "request_id": "r1",
            "failed_at": "5.000000",
        }

    def test_long_reason_is_cut_between_characters(self) -> None:
        text = encode_dead_letter(self.letter(message="x" + "ü" * 2000)).attributes["error_message"]
        assert text == "x" + "ü" * 511  # 1,023 bytes

    def test_a_reason_that_is_not_unicode(self) -> None:
        message = encode_dead_letter(self.letter(message="not a name: \udcff"))
        assert message.attributes["error_message"] == "not a name: ?"

    def test_too_many_attributes(self) -> None:
        message = encode_dead_letter(self.letter(b"bytes", "why", **{f"a{i}": "x" for i in range(100)}))
        assert len(message.attributes) <= 100
        assert message.attributes["error_stage"] == "decode"
        assert message.attributes["attributes_dropped"] == "7"

    def test_attributes_make_room_for_the_bytes(self) -> None:
        data = b"x" * (MAX_MESSAGE_BYTES - 2_000)
        message = encode_dead_letter(self.letter(data, tenant="t" * 1000, region="r" * 1000))
        size = len(message.data) + sum(len(k) + len(v) for k, v in message.attributes.items())
        assert message.data == data
        assert size < MAX_MESSAGE_BYTES
        assert {"error_stage", "error_message", "tenant"} <= set(message.attributes)
        assert message.attributes["attributes_dropped"] == "1"

    @pytest.mark.parametrize("short_of_the_limit", [0, 1, 100, 450, 500, 550, 700, 1_000, 2_000])
    def test_any_size_can_be_published(self, short_of_the_limit: int) -> None:
        """Together with a topic's name, and saying at least the stage; cut only where nothing else helps."""
        data = b"x" * (MAX_MESSAGE_BYTES - short_of_the_limit)
        message = encode_dead_letter(self.letter(data, message="why " * 200, tenant="acme"))
        wire = types.PubsubMessage.pb()(data=message.data, attributes=message.attributes)
        request = types.PublishRequest.pb()(topic="t" * 300, messages=[wire])
        assert request.ByteSize() <= MAX_MESSAGE_BYTES
        assert message.attributes["error_stage"] == "decode"
        assert data.startswith(message.data)
        cut = len(message.data) < len(data)
        assert cut == (short_of_the_limit <= 500)
        assert message.attributes.get("data_truncated") == (str(len(data)) if cut else None)

    def test_of_names_the_cause(self) -> None:
        error = EncodeError("cannot", "r1")
        error.__cause__ = ZeroDivisionError("/")
        letter = DeadLetter.of(error, b"", {}, 1.0)
        assert (letter.stage, letter.error_type, letter.request_id) == ("encode", "ZeroDivisionError", "r1")
