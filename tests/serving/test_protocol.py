from __future__ import annotations

import gc
import gzip
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import orjson
import pytest
from numpy.typing import NDArray

from pipeline.batching.batch_runner import BundleInputs
from pipeline.model.outputs import OutputRows
from pipeline.request.input_spec import InputSpec
from serving.errors import Refusal
from serving.limits import body_limit
from serving.protocol import (
    read_json,
    read_raw,
    unpacked,
    write_float32,
    write_json,
)
from tests.serving.container import FLOAT32, instances

THREE = InputSpec.parse("3")
NAMED = InputSpec.parse("ids:int64:2,scale:float32:1")


def read_float32(body: bytes, spec: InputSpec, most: int) -> BundleInputs:
    return read_raw(body, FLOAT32, spec, most)


def refusal(
    read: Callable[[bytes, InputSpec, int], BundleInputs], body: bytes, spec: InputSpec = THREE, most: int = 4
) -> tuple[int, str]:
    with pytest.raises(Refusal) as caught:
        read(body, spec, most)
    return caught.value.status, str(caught.value)


def one_array(read: BundleInputs) -> NDArray[Any]:
    """Return the instances of a model with one input."""
    assert isinstance(read.inputs, np.ndarray)
    assert len(read.inputs) == read.rows
    return read.inputs


def outputs(*named: tuple[str | None, NDArray[Any]]) -> OutputRows:
    return OutputRows([name for name, _ in named], [array for _, array in named])


def test_json_rows_come_in_order() -> None:
    array = one_array(read_json(instances([1, 2, 3], [4, 5, 6.5]), THREE, 2))
    assert array.tolist() == [[1, 2, 3], [4, 5, 6.5]]
    assert array.dtype == np.float32


@pytest.mark.parametrize("long", [False, True])
@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        ("true", "features[1]: expected a number, got true"),
        ("null", "features[1]: expected a number, got null"),
        ('"1"', "features[1]: expected a number, got the string '1'"),
        ("[1]", "features[1]: expected a number, got a list"),
        ("{}", "features[1]: expected a number, got an object"),
        ("1e39", "features[1]: 1e+39 is too large for float32"),
    ],
)
def test_what_is_no_number_is_named_in_a_short_text_and_in_a_long_one(
    bad: str, problem: str, long: bool
) -> None:
    body = f'{{"instances": [[1, 2, 3], [1, {bad}, 3]]}}'.encode().ljust(4096 if long else 0)
    assert refusal(read_json, body) == (400, f"instance 1: {problem}")


@pytest.mark.parametrize("field", ["", ', "text": "x"', ', "true": [null]'])
def test_long_texts_of_numbers_are_read_as_short_ones(field: str) -> None:
    body = f'{{"instances": [[1, 2.5, -3e2]]{field}}}'.encode()
    for text in (body, body.ljust(4096)):
        assert one_array(read_json(text, THREE, 4)).tolist() == [[1, 2.5, -300]]
    integers = InputSpec.parse("a:int64:2")
    assert refusal(read_json, b'{"instances": [{"a": [1, 1.5]}]}'.ljust(4096), integers)[0] == 400


def test_json_rows_with_named_inputs() -> None:
    read = read_json(instances({"scale": [0.5], "ids": [2**40, 2], "other": 1}), NAMED, 1)
    assert read.rows == 1
    assert isinstance(read.inputs, dict)
    assert read.inputs["ids"].tolist() == [[2**40, 2]]
    assert read.inputs["scale"].tolist() == [[0.5]]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"{", "the body is not JSON"),
        (b'{"instances": [[1, 2, NaN]]}', "the body is not JSON"),
        (b"\xff", "the body is not JSON"),
        (b"[[1, 2, 3]]", 'no "instances": expected {"instances": [[3 float32], …]}'),
        (b'{"instances": {}}', 'no "instances"'),
        (b'{"instances": []}', 'no "instances"'),
        (
            instances([1, 2, 3], [1, "2", 3]),
            r"instance 1: features[1]: expected a number, got the string '2'",
        ),
        (instances([1, 2, 3], [1, 2, 3], [1, 2]), "instance 2: features: expected 3 numbers, got 2"),
        (instances({"features": [1, 2, 3]}), "instance 0: features: expected a list of 3, got an object"),
        (instances([1, 2, 1e39]), "instance 0: features[2]: 1e+39 is too large for float32"),
    ],
)
def test_json_that_is_no_call(body: bytes, message: str) -> None:
    status, text = refusal(read_json, body)
    assert status == 400
    assert message in text


def test_named_inputs_that_are_missing_or_wrong() -> None:
    example = 'expected {"ids": [2 int64], "scale": [1 float32]}'
    assert refusal(read_json, instances([1, 2]), NAMED) == (400, f"instance 0: not an object: {example}")
    good = {"ids": [1, 2], "scale": [1]}
    assert refusal(read_json, instances(good, {"ids": [1, 2]}), NAMED) == (
        400,
        f"instance 1: scale missing: {example}",
    )
    assert refusal(read_json, instances(good | {"ids": [1, 2.5]}), NAMED) == (
        400,
        "instance 0: ids[1]: expected a whole number, got 2.5",
    )


def test_more_than_the_largest_batch_is_refused_with_413() -> None:
    assert refusal(read_json, instances(*[[1, 2, 3]] * 5)) == (
        413,
        "5 instances: at most 4 are taken in one call",
    )
    assert refusal(read_float32, bytes(5 * 12))[0] == 413
    assert read_json(instances(*[[1, 2, 3]] * 4), THREE, 4).rows == 4
    assert read_float32(bytes(4 * 12), THREE, 4).rows == 4


@pytest.mark.parametrize("instance", [b"[]", b"{}", b"[[[]]]", b"0", b'""', b'{"a":0}'])
def test_a_body_with_far_too_much_is_refused_before_it_is_parsed(
    monkeypatch: pytest.MonkeyPatch, instance: bytes
) -> None:
    def parse(body: bytes) -> Any:
        raise AssertionError("parsed")

    monkeypatch.setattr("serving.protocol.orjson.loads", parse)
    body = b'{"instances":[' + b",".join([instance] * 100_000) + b"]}"
    status, text = refusal(read_json, body)
    assert status == 413
    assert "at most 4 instances are taken in one call" in text


@pytest.mark.parametrize("spec", ["1", "30", "3x32x32", "ids:int64:128,scale:float32:1"])
def test_the_largest_batch_is_never_too_much(spec: str) -> None:
    parsed = InputSpec.parse(spec)
    zeros = parsed.zeros()
    one = {name: row.tolist() for name, row in zeros.items()} if isinstance(zeros, dict) else zeros.tolist()
    body = json.dumps({"instances": [one] * 64}, indent=4).encode()
    assert len(body) <= body_limit(parsed, 64)
    assert read_json(body, parsed, 64).rows == 64


def test_fields_that_are_not_read_may_hold_something() -> None:
    body = orjson.dumps({"instances": [[1, 2, 3]], "parameters": [[0]] * 4000, "text": "[,:" * 2000})
    assert read_json(body.ljust(2**16), THREE, 4).rows == 1


@pytest.mark.parametrize("body", [b"[" * 100_000, b'{"instances":' * 10_000, b'{"instances":' + b"[" * 2000])
def test_nesting_without_end_is_refused(body: bytes) -> None:
    assert refusal(read_json, body)[0] in (400, 413)


def test_no_collection_while_parsing(monkeypatch: pytest.MonkeyPatch) -> None:
    enabled = []

    def parse(body: bytes) -> Any:
        enabled.append(gc.isenabled())
        raise orjson.JSONDecodeError("told to fail", "", 0)

    monkeypatch.setattr("serving.protocol.orjson.loads", parse)
    refusal(read_json, b" " * 2**16)
    assert (enabled, gc.isenabled()) == ([False], True)


def test_float32_rows() -> None:
    sent = np.arange(12, dtype="<f4").reshape(2, 2, 3)
    assert np.array_equal(one_array(read_float32(sent.tobytes(), InputSpec.parse("2x3"), 2)), sent)


@pytest.mark.parametrize("body", [b"", bytes(11), bytes(13)])
def test_float32_that_is_no_whole_rows(body: bytes) -> None:
    assert refusal(read_float32, body) == (
        400,
        f"a body of {len(body)} bytes is not a number of rows: float32 of shape 3 takes 12 each",
    )


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_float32_that_is_not_finite(bad: float) -> None:
    sent = np.zeros((3, 3), "<f4")
    sent[1, 2] = bad
    assert refusal(read_float32, sent.tobytes()) == (
        400,
        f"instance 1: features[2]: {bad} is not a finite number",
    )


def test_raw_for_several_inputs() -> None:
    assert refusal(read_float32, bytes(12), NAMED) == (
        406,
        "application/x-float32: this model takes several inputs; send JSON",
    )


def test_raw_of_another_dtype() -> None:
    assert refusal(read_float32, bytes(12), InputSpec.parse("image:uint8:3")) == (
        415,
        "application/x-float32: this model takes uint8; send application/x-uint8 or JSON",
    )


@pytest.mark.parametrize(
    ("dtype", "numbers"),
    [
        ("float16", [[0.5, -65504], [0, 1]]),
        ("float64", [[0.1, 1e300], [0, 1]]),
        ("uint8", [[0, 255], [1, 2]]),
        ("int16", [[-32768, 32767], [1, 2]]),
        ("int64", [[-(2**63), 2**63 - 1], [1, 2]]),
        ("bool", [[True, False], [False, True]]),
    ],
)
def test_raw_rows_of_any_dtype(dtype: str, numbers: list[list[float]]) -> None:
    sent = np.array(numbers, np.dtype(dtype).newbyteorder("<")).tobytes()
    read = read_raw(sent, f"application/x-{dtype}", InputSpec.parse(f"a:{dtype}:2"), 2)
    assert isinstance(read.inputs, dict)
    assert (read.inputs["a"].dtype.name, read.inputs["a"].tolist(), read.rows) == (dtype, numbers, 2)


@pytest.mark.parametrize(
    ("dtype", "body", "problem"),
    [
        ("bool", b"\0\1\1\2", "instance 1: a[1]: 2 does not fit bool"),
        ("float16", b"\0\0\0\0\0\0\0\x7c", "instance 1: a[1]: inf is not a finite number"),
        ("uint8", b"\0", "a body of 1 bytes is not a number of rows: uint8 of shape 2 takes 2 each"),
    ],
)
def test_raw_rows_that_are_refused(dtype: str, body: bytes, problem: str) -> None:
    with pytest.raises(Refusal) as caught:
        read_raw(body, f"application/x-{dtype}", InputSpec.parse(f"a:{dtype}:2"), 4)
    assert (caught.value.status, str(caught.value)) == (400, problem)


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", " GZIP"])
def test_gzip_is_unpacked(encoding: str) -> None:
    assert unpacked(gzip.compress(b"body", mtime=0), encoding, 4) == b"body"


@pytest.mark.parametrize("encoding", ["", "identity", "Identity "])
def test_a_body_without_an_encoding_is_as_it_is(encoding: str) -> None:
    assert unpacked(b"body", encoding, 4) == b"body"


@pytest.mark.parametrize(
    ("body", "encoding", "status", "problem"),
    [
        (
            gzip.compress(b"body!", mtime=0),
            "gzip",
            413,
            "the body is too large: 25 bytes of gzip unpack to more than 4",
        ),
        (b"body", "gzip", 400, "the body cannot be unpacked: not gzip, or damaged: "),
        (gzip.compress(b"body", mtime=0)[:-1], "gzip", 400, "the body cannot be unpacked: damaged: the end"),
        (b"body", "br", 415, "Content-Encoding 'br': expected gzip, or none"),
        (b"body", "gzip, br", 415, "Content-Encoding 'gzip, br': expected gzip, or none"),
    ],
)
def test_an_encoding_that_is_refused(body: bytes, encoding: str, status: int, problem: str) -> None:
    with pytest.raises(Refusal) as caught:
        unpacked(body, encoding, 4)
    assert caught.value.status == status
    assert str(caught.value).startswith(problem)


def test_predictions_as_json() -> None:
    batch = np.arange(4, dtype=np.float32).reshape(2, 2)
    assert orjson.loads(write_json(outputs((None, batch)))) == {"predictions": [[0, 1], [2, 3]]}
    assert orjson.loads(write_json(outputs((None, batch[:, 0].copy())))) == {"predictions": [0, 2]}
    named = outputs(("total", np.array([2**40])), ("flags", np.array([[True, False]])))
    assert orjson.loads(write_json(named)) == {"predictions": [{"total": 2**40, "flags": [True, False]}]}


def test_an_output_that_json_cannot_hold() -> None:
    with pytest.raises(Refusal, match="cannot be written as JSON") as caught:
        write_json(outputs((None, np.zeros((1, 2), np.complex64))))
    assert caught.value.status == 422


@pytest.mark.parametrize(("shape", "text"), [((3,), "3"), ((3, 30), "3x30"), ((1, 2, 2), "1x2x2")])
def test_predictions_as_float32_tell_their_shape(shape: tuple[int, ...], text: str) -> None:
    batch = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    body, content_type = write_float32(outputs((None, batch)))
    assert content_type == f"application/x-float32; shape={text}"
    assert np.array_equal(np.frombuffer(body, "<f4").reshape(shape), batch)


@pytest.mark.parametrize(
    "returned",
    [
        outputs((None, np.zeros(1))),
        outputs((None, np.zeros((1, 2), np.int64))),
        outputs(("a", np.zeros(1, np.float32)), ("b", np.ones(1, np.float32))),
    ],
)
def test_an_output_that_is_no_float32_tensor(returned: OutputRows) -> None:
    with pytest.raises(Refusal, match="send JSON") as caught:
        write_float32(returned)
    assert caught.value.status == 406
