"""Numbers that pass through come back as they were, or are refused with the reason."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.inference.endpoint.json_codec import JsonCodec
from pipeline.io import bigquery
from pipeline.request import json_body
from pipeline.request.errors import DecodeError
from pipeline.request.hooks import Hook
from pipeline.request.input_spec import InputSpec
from pipeline.request.messages import Request, Result
from pipeline.request.wire_format import decode, encode

SPEC = InputSpec.parse("3")

NUMBERS = (
    "0",
    "-0",
    "-0.0",
    "1e2",
    "1.50",
    "0.1",
    "18446744073709551615",
    "18446744073709551616",
    "-9223372036854775809",
    "123456789012345678901234",
    "1" + "0" * 300,
    "0.1234567890123456789",
    "0.5000000000000000000000000001",
    "100000000000000000000.5",
    "-1.7976931348623157e308",
    "5e-324",
    "1.23456e-320",
    "1e-400",
    "-12E-0400",
)
HUGE = ("1e400", "-1E+400", "9" * 400)
PLACES = ('"x": %s', '"x": {"y": [1, {"z": %s}]}', '"x": "%s", "y": [%s]', '"x": "a", "é\\"\\u00e9": [ %s ]')


@pytest.fixture(params=[1 << 30, -1], ids=["small", "large"])
def size(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read a body as if it were small, and as if it were large."""
    monkeypatch.setattr(json_body, "EAGER_BYTES", request.param)
    monkeypatch.setattr(json_body, "_VALUE_BYTES", 0)


def exact(text: str | bytes) -> Any:
    """Return JSON with its numbers as what they are: -0.0 is not 0.0, but the whole number -0 is 0."""
    return json.loads(text, parse_float=lambda number: str(Decimal(number).normalize()))


def body_with(number: str, place: str) -> bytes:
    fields = place.replace("%s", number)
    return f'{{"features": [1, 2.5, -0.25], {fields}, "label": 1}}'.encode()


def read(data: bytes, function: Callable[..., Any] | None = None) -> Request:
    hook = None if function is None else Hook("--decode_hook", "my.hooks:decode", function)
    return decode(data, {}, SPEC, received=1.0, message_id="m", hook=hook)


def sent_back(request: Request) -> bytes:
    return encode(Result(request, np.float32(0.5), "model@1", 1), 2.0).data


def same(data: bytes, passthrough: bytes) -> bool:
    expected = exact(data)
    del expected["features"]
    found = exact(passthrough)
    return repr(found) == repr(expected)


def test_minus_zero_is_told_apart() -> None:
    assert exact("[-0]") == exact("[0]")
    assert exact("[-0.0]") != exact("[0.0]")


@pytest.mark.usefixtures("size")
class TestPassthrough:
    @pytest.mark.parametrize("number", NUMBERS)
    @pytest.mark.parametrize("place", PLACES)
    def test_comes_back(self, number: str, place: str) -> None:
        data = body_with(number, place)
        request = read(data)
        assert same(data, request.passthrough)
        assert request.passthrough in sent_back(request)

    @pytest.mark.parametrize("number", NUMBERS)
    @pytest.mark.parametrize("place", PLACES)
    def test_comes_back_from_a_hook(self, number: str, place: str) -> None:
        data = body_with(number, place)

        def function(body: dict[str, Any], attributes: object) -> object:
            body["new"] = 0.25
            return body["features"]

        request = read(data, function)
        assert same(data[:-1] + b', "new": 0.25}', request.passthrough)

    @pytest.mark.parametrize("number", NUMBERS)
    def test_comes_back_where_the_hook_adds_nothing(self, number: str) -> None:
        data = body_with(number, PLACES[0])
        assert same(data, read(data, lambda body, attributes: body["features"]).passthrough)

    @pytest.mark.parametrize("space", ["", " ", "\t", "  ", "\n"])
    @pytest.mark.parametrize("number", ["-0", "0.5", "0.50000000000000000000000001", "12.5", "1e-400"])
    def test_white_space(self, number: str, space: str) -> None:
        data = f'{{"features":[1,2,3],"a":0,"x":{space}{number}{space},"b":0.5{space}}}'.encode()
        assert same(data, read(data).passthrough)

    @pytest.mark.parametrize("number", ["0", "-0", "0.0", "-0.0", "0.50000000000000000000000001", "0.5"])
    @pytest.mark.parametrize(
        "where", ['{"x": %s, "features": [1,2,3]%s}', '{"features": [1,2,3]%s, "x":%s }']
    )
    def test_beside_long_fields(self, number: str, where: str) -> None:
        """Of large bodies too, parts are looked at first."""
        long = ', "long": "' + "z" * 2_000 + '"'
        texts = (number, long) if where.startswith('{"x"') else (long, number)
        data = (where % texts).encode()
        assert same(data, read(data).passthrough)

    @pytest.mark.parametrize("number", HUGE)
    @pytest.mark.parametrize("place", PLACES)
    def test_what_no_float_holds_is_refused(self, number: str, place: str) -> None:
        with pytest.raises(DecodeError, match="not valid JSON"):
            read(body_with(number, place))

    @pytest.mark.parametrize("number", NUMBERS)
    def test_goes_into_a_row(self, number: str) -> None:
        data = body_with(number, PLACES[1])
        assert same(data, bigquery.row(sent_back(read(data)))["passthrough"].encode())


class TestOfAHook:
    DATA = (
        b'{"features": [1, 2, 3], "a": {"x": 123456789012345678901234, "n": 1}, '
        b'"b": [0.1234567890123456789], "c": 1234567890123456789.5}'
    )

    @pytest.mark.parametrize(
        ("change", "passthrough"),
        [
            (lambda body: body["a"].update(n=2), b'"a":{"x":1.2345678901234569e+23,"n":2}'),
            # Equal to Python, but not in JSON.
            (lambda body: body["a"].update(n=True), b'"a":{"x":1.2345678901234569e+23,"n":true}'),
            (lambda body: body.update(b=np.zeros(1)), b'"b":[0.0]'),
            (lambda body: body.update(c=1), b'"c":1'),
            (lambda body: body.pop("c"), b""),
        ],
    )
    def test_what_it_changes_is_written_anew(
        self, change: Callable[[dict[str, Any]], object], passthrough: bytes
    ) -> None:
        def function(body: dict[str, Any], attributes: object) -> object:
            change(body)
            return body["features"]

        request = read(self.DATA, function)
        fields = {
            b"a": b'"a":{"x": 123456789012345678901234, "n": 1}',
            b"b": b'"b":[0.1234567890123456789]',
            b"c": b'"c":1234567890123456789.5',
        }
        name = passthrough[1:2] or b"c"
        fields[name] = passthrough
        assert request.passthrough == b"{" + b",".join(filter(None, fields.values())) + b"}"


@pytest.mark.usefixtures("size")
@pytest.mark.parametrize("function", [None, lambda body, attributes: body["features"]], ids=["", "hook"])
class TestRequestId:
    @pytest.mark.parametrize("name", ["request_id", "message_id"])
    @pytest.mark.parametrize("number", [number for number in NUMBERS if number.lstrip("-").isdigit()])
    def test_whole_numbers_of_any_size(
        self, number: str, name: str, function: Callable[..., Any] | None
    ) -> None:
        request = read(body_with(number, f'"{name}": %s'), function)
        assert request.request_id == number
        assert json.loads(sent_back(request))["request_id"] == number

    @pytest.mark.parametrize(
        "number", ["1.0", "-0.0", "1e2", "0.1234567890123456789", "true", "false", "[0]"]
    )
    def test_others_are_refused(self, number: str, function: Callable[..., Any] | None) -> None:
        with pytest.raises(DecodeError, match="^request_id: expected a string or a whole number$"):
            read(body_with(number, '"request_id": %s'), function)


@given(
    st.recursive(
        st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.booleans() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=5,
    )
)
def test_any_value_comes_back_either_way(value: object) -> None:
    data = b'{"features":[1,2,3],"x":' + json.dumps(value).encode() + b"}"
    assert same(data, read(data).passthrough)
    assert same(data, read(data, lambda body, attributes: [1, 2, 3]).passthrough)


def test_attributes_are_text() -> None:
    attributes = {
        "intended_time": "1790000000.12345678901234567890",
        "sent_time": "1e400",
        "request_id": "-0",
    }
    request = decode(b'{"features": [1, 2, 3]}', attributes, SPEC, received=1.0)
    message = encode(Result(request, np.float32(0.5), "model@1", 1), 2.0)
    assert message.attributes == {**attributes, "model_id": "model@1"}


@pytest.mark.parametrize(
    ("dtype", "texts"),
    [
        ("int64", ["9007199254740993", "-9223372036854775808"]),
        ("float64", ["0.1", "-1.7976931348623157e308"]),
        ("float32", ["0.1", "3.4028235e38"]),
        ("float16", ["0.1", "65504.0"]),
        ("uint8", ["0", "255"]),
        ("bool", ["true", "false"]),
    ],
)
def test_an_endpoint_is_sent_what_the_model_would_get(dtype: str, texts: list[str]) -> None:
    spec = InputSpec.parse(f"a:{dtype}:2")
    request = decode(f'{{"inputs": {{"a": [{", ".join(texts)}]}}}}'.encode(), {}, spec, received=1.0)
    (instance,) = json.loads(JsonCodec().encode([request.inputs]).body)["instances"]
    again = spec.from_json({"inputs": instance})
    assert isinstance(request.inputs, dict)
    assert isinstance(again, dict)
    assert again["a"].tobytes() == request.inputs["a"].tobytes()


@pytest.mark.parametrize(
    ("dtype", "number", "reason"),
    [
        ("int64", "9223372036854775808", "9223372036854775808 does not fit int64"),
        ("int64", "123456789012345678901234", "a[0]: 1.23457e+23 does not fit int64"),
        ("int32", "1e30", "a[0]: 1e+30 does not fit int32"),
        ("int32", "1.5", "a[0]: expected a whole number, got 1.5"),
        ("float32", "1e39", "a[0]: 1e+39 is too large for float32"),
        ("float64", "1e400", "not valid JSON"),
        ("float16", "65520", "a[0]: 65520 is too large for float16"),
        ("uint8", "256", "a[0]: 256 does not fit uint8"),
    ],
)
def test_an_input_that_the_dtype_cannot_hold_is_refused(dtype: str, number: str, reason: str) -> None:
    with pytest.raises(DecodeError) as caught:
        decode(
            f'{{"inputs": {{"a": [{number}]}}}}'.encode(), {}, InputSpec.parse(f"a:{dtype}:1"), received=1.0
        )
    assert reason in str(caught.value)
