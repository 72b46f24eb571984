"""A request costs what it is, whatever it holds. Bodies of any size are read in both ways here."""

from __future__ import annotations

import json
import pickle
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.request import json_body
from pipeline.request.errors import DecodeError, EncodeError
from pipeline.request.hooks import Hook
from pipeline.request.input_spec import InputSpec
from pipeline.request.messages import Request, Result
from pipeline.request.wire_format import decode, encode

SPEC = InputSpec.parse("3")
NAMED = InputSpec.parse("ids:int64:2,scale:float32:1")
FEATURES = b'"features": [1, 2.5, -3e2]'
INPUTS = b'"ids": [1, 2], "scale": [0.5]'
# One way in, and the other: as if each body were small, as if each were large.
EAGER, LAZY = 1 << 30, -1


@pytest.fixture(params=[EAGER, LAZY], ids=["small", "large"])
def size(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(json_body, "EAGER_BYTES", request.param)
    # What is large but like its inputs is parsed whole, too.
    monkeypatch.setattr(json_body, "_VALUE_BYTES", 0)
    return request.param


def read(data: bytes, spec: InputSpec = SPEC, hook: Callable[..., Any] | None = None) -> Request:
    loaded = None if hook is None else Hook("--decode_hook", "my.hooks:decode", hook)
    return decode(data, {"request_id": "r"}, spec, received=1.0, hook=loaded)


def refusal(data: bytes, spec: InputSpec = SPEC, hook: Callable[..., Any] | None = None) -> str:
    with pytest.raises(DecodeError) as caught:
        read(data, spec, hook)
    # The dead letter's error_type, unless a hook's own error is the cause.
    assert type(caught.value) is DecodeError
    return str(caught.value)


def nested(levels: int, inside: bytes = b"", kind: str = "[]") -> bytes:
    if kind == "{}":
        return b'{"k":' * levels + (inside or b"{}") + b"}" * levels
    return b"[" * levels + inside + b"]" * levels


@pytest.mark.usefixtures("size")
class TestDepth:
    # The body is the first level: a value of it may have 99 more.
    @pytest.mark.parametrize("inside", [b"", b"1", b"1.5", b'"[["', b"true", b"null", b'{"a": 1}', b"[]"])
    @pytest.mark.parametrize("depth", [99, 100, 101])
    def test_passed_through(self, depth: int, inside: bytes) -> None:
        own = 1 if inside in (b'{"a": 1}', b"[]") else 0
        data = b'{%s, "x": %s}' % (FEATURES, nested(depth - 1 - own, inside))
        if depth > 100:
            assert "nested more than 100 deep" in refusal(data)
        else:
            assert json.loads(read(data).passthrough) == {"x": json.loads(data)["x"]}

    @pytest.mark.parametrize("depth", [99, 100, 101])
    def test_objects(self, depth: int) -> None:
        data = b'{%s, "x": %s}' % (FEATURES, nested(depth - 2, kind="{}"))
        if depth > 100:
            assert "nested more than 100 deep" in refusal(data)
        else:
            read(data)

    @pytest.mark.parametrize(
        ("body", "spec"),
        [
            (b'{"features": %s}', SPEC),
            (b'{"features": [1, 2, %s]}', SPEC),
            (b'{%s, "inputs": %%s}' % FEATURES, SPEC),
            (b'{%s, "message_id": %%s}' % FEATURES, SPEC),
            (b'{%s, "request_id": %%s, "x": 1}' % FEATURES, SPEC),
            (b'{"inputs": {%s, "other": %%s}}' % INPUTS, NAMED),
            (b'{"inputs": {%s}, "features": %%s}' % INPUTS, NAMED),
            (b'{"inputs": %s}', NAMED),
            (b'{%s, "x": 1, "x": %%s' % FEATURES, SPEC),
        ],
    )
    @pytest.mark.parametrize("levels", [101, 600, 1_000, 2_000, 100_000])
    def test_anywhere(self, body: bytes, spec: InputSpec, levels: int) -> None:
        assert "nested more than 100 deep" in refusal(body % nested(levels), spec)

    def test_the_features_of_a_deep_shape(self) -> None:
        spec = InputSpec.parse("x".join(["1"] * 31 + ["2"]))
        assert read(b'{"features": %s}' % nested(32, b"1,2"), spec).inputs is not None

    @pytest.mark.parametrize("levels", [99, 100])
    def test_before_a_hook(self, levels: int) -> None:
        data = b'{"x": %s}' % nested(levels)

        def hook(body: Any, attributes: Any) -> Any:
            return [1, 2, len(body)]

        if levels > 99:
            assert "nested more than 100 deep" in refusal(data, hook=hook)
        else:
            assert read(data, hook=hook).passthrough == data.replace(b" ", b"")

    @pytest.mark.parametrize(
        ("levels", "reason"), [(100, "nested more than 100 deep"), (600, "cannot be written as JSON")]
    )
    def test_what_a_hook_leaves(self, levels: int, reason: str) -> None:
        def hook(body: Any, attributes: Any) -> Any:
            body["x"] = json.loads(nested(levels))
            return [1, 2, 3]

        assert reason in refusal(b"{}", hook=hook)

    @pytest.mark.parametrize("levels", [100, 5_000])
    def test_what_a_hook_returns(self, levels: int) -> None:
        def hook(body: Any, attributes: Any) -> Any:
            value: Any = 1
            for _ in range(levels):
                value = [value]
            return value

        assert "what it returned does not fit" in refusal(b"{}", hook=hook)

    @pytest.mark.parametrize("levels", [300, 5_000])
    def test_what_an_encode_hook_returns(self, levels: int) -> None:
        def hook(prediction: Any) -> Any:
            for _ in range(levels):
                prediction = [prediction]
            return prediction

        result = Result(read(b"{%s}" % FEATURES), 1, "model", 1)
        with pytest.raises(EncodeError, match="cannot be written as JSON"):
            encode(result, 2.0, Hook("--encode_hook", "my.hooks:encode", hook))

    def test_a_request_can_be_pickled(self) -> None:
        """As Beam does with samples, at some depth of the stack."""
        request = read(b'{%s, "x": %s}' % (FEATURES, nested(99)))
        assert len(pickle.dumps(request)) < 1_000


@pytest.mark.usefixtures("size")
class TestNumbers:
    @pytest.mark.parametrize(
        "number",
        ["123456789012345678901234", "-18446744073709551616", "18446744073709551615", "1" + "0" * 300],
    )
    @pytest.mark.parametrize("body", ['{%s, "x": %s}', '{%s, "a": "3e5", "x": {"y": [%s]}}'])
    def test_integers_of_any_size_come_back(self, number: str, body: str) -> None:
        data = (body % (FEATURES.decode(), number)).encode()
        assert number in read(data).passthrough.decode()
        expected = json.loads(data)
        del expected["features"]
        assert json.loads(read(data).passthrough) == expected

    @pytest.mark.parametrize("number", ["1e999", "-1E+400", "9" * 400])
    def test_what_no_float_holds_is_refused(self, number: str) -> None:
        assert "not valid JSON" in refusal(b'{%s, "x": [%s]}' % (FEATURES, number.encode()))
        assert "not valid JSON" in refusal(b'{"features": [1, 2, %s]}' % number.encode())
        read(b'{%s, "x": ["%s"]}' % (FEATURES, number.encode()))


OTHERS = ("request_id", "message_id", "x", "é", 'a"\\')
FIELDS = ("features", "inputs", *OTHERS)
GOOD = {"features": [1, 2.5, 3], "inputs": {"ids": [1, 2], "scale": [0.5], "z": {}}}
VALUES = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


class TestBothWays:
    @staticmethod
    def outcome(data: bytes, spec: InputSpec, eager_bytes: int) -> tuple[Any, ...] | None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(json_body, "EAGER_BYTES", eager_bytes)
            patch.setattr(json_body, "_VALUE_BYTES", 0)
            try:
                request = decode(data, {}, spec, received=1.0, message_id="m")
            except DecodeError:
                return None
        inputs = request.inputs if isinstance(request.inputs, dict) else {"": request.inputs}
        arrays = {name: array.tolist() for name, array in inputs.items()}
        return request.request_id, arrays, orjson.loads(request.passthrough)

    @given(
        st.dictionaries(st.sampled_from(FIELDS), VALUES).map(lambda given: {**GOOD, **given})
        | st.dictionaries(st.sampled_from(OTHERS), VALUES).map(lambda given: {**given, **GOOD}),
        st.sampled_from([SPEC, NAMED]),
        st.booleans(),
        st.lists(st.tuples(st.integers(0, 400), st.binary(max_size=2)), max_size=1),
    )
    def test_the_outcome_is_the_same(
        self, body: dict[str, Any], spec: InputSpec, ascii_only: bool, edits: list[tuple[int, bytes]]
    ) -> None:
        try:
            data = json.dumps(body, ensure_ascii=ascii_only).encode()
        except UnicodeEncodeError:  # a lone surrogate
            data = json.dumps(body).encode()
        for position, written in edits:
            data = data[:position] + written + data[position + 1 :]
        small, large = self.outcome(data, spec, EAGER), self.outcome(data, spec, LAZY)
        assert (small is None) == (large is None), data
        assert small == large


class TestCost:
    LENGTH = 1_000_000

    def peak(self, data: bytes, spec: InputSpec = SPEC) -> float:
        """Return how many times its bytes a request costs, from bytes to result or refusal."""
        tracemalloc.start()
        try:
            request = read(data, spec)
            pickle.dumps(request)
            encode(Result(request, 0.5, "model", 1), 2.0)
        except DecodeError:
            pass
        finally:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        return peak / len(data)

    @pytest.mark.parametrize(
        "part", [b"[],", b"{},", b'{"a":0},', b'"",', b'"ab",', b"1.5,", b'"1e999",'], ids=bytes.decode
    )
    def test_passed_through(self, part: bytes) -> None:
        data = b'{%s, "x": [%s 0]}' % (FEATURES, part * (self.LENGTH // len(part)))
        assert self.peak(data) < 8

    @pytest.mark.parametrize("part", [b"[],", b"{},", b"1,", b'"ab",'], ids=bytes.decode)
    def test_inputs(self, part: bytes) -> None:
        many = part * (self.LENGTH // len(part))
        for body in (b'{"features": [%s 0]}' % many, b'{%s, "inputs": [%s 0]}' % (FEATURES, many)):
            assert self.peak(body) < 8
        for named in (
            b'{"inputs": {"ids": [%s 0], "scale": [1]}}',
            b'{"inputs": {%s, "z": [%%s 0]}}' % INPUTS,
        ):
            assert self.peak(named % many, NAMED) < 8

    def test_many_fields(self) -> None:
        many = b",".join(b'"%x":0' % n for n in range(self.LENGTH // 10))
        assert self.peak(b"{%s, %s}" % (FEATURES, many)) < 8
        assert self.peak(b'{%s, "x": {%s}}' % (FEATURES, many)) < 8
        assert self.peak(b'{"inputs": {%s, %s}}' % (INPUTS, many), NAMED) < 8

    @pytest.mark.parametrize(
        ("wanted", "part", "reason"),
        [
            ("3", b"0,", "features: expected 3 numbers, got 100,001 values in 1 lists or objects"),
            ("3", b"[],", "features: expected 3 numbers, got 100,001 values in 100,001 lists or objects"),
        ],
    )
    def test_the_reason(self, wanted: str, part: bytes, reason: str) -> None:
        assert refusal(b'{"features": [%s 0]}' % (part * 100_000), InputSpec.parse(wanted)) == reason

    def test_large_inputs_that_fit(self) -> None:
        values = np.round(np.random.default_rng(1).standard_normal((3, 100, 100)), 4)
        data = orjson.dumps({"features": values.tolist(), "customer": {"id": 1}})
        assert len(data) > json_body.EAGER_BYTES
        request = read(data, InputSpec.parse("3x100x100"))
        assert isinstance(request.inputs, np.ndarray)
        assert request.inputs.tolist() == values.astype(np.float32).tolist()
        assert request.passthrough == b'{"customer":{"id":1}}'

    def test_for_a_hook(self) -> None:
        """A hook gets objects, so there is a limit to what they may take."""

        def hook(body: Any, attributes: Any) -> Any:
            return [1, 2, len(body["x"])]

        assert read(b'{"x": [%s 0]}' % (b"1.25," * 100_000), hook=hook).passthrough
        assert "100,001 lists and objects in" in refusal(b'{"x": [%s[]]}' % (b"[]," * 99_998), hook=hook)
