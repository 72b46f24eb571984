import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.request.errors import DecodeError, InferenceError
from pipeline.request.input_spec import InputSpec


class TestParse:
    def test_one_tensor(self) -> None:
        spec = InputSpec.parse("3x224x224")
        assert [(t.name, t.shape, t.dtype.name) for t in spec.tensors] == [
            ("features", (3, 224, 224), "float32")
        ]
        assert not spec.named

    def test_named(self) -> None:
        spec = InputSpec.parse("ids:int64:128,image:float32:3x8")
        assert [(t.name, t.shape, t.dtype.name) for t in spec.tensors] == [
            ("ids", (128,), "int64"),
            ("image", (3, 8), "float32"),
        ]
        assert spec.named

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("", "not a shape"),
            ("0", "not a shape"),
            ("3,4", "not a shape"),
            ("a:int64", "not NAME:DTYPE:SHAPE"),
            ("a:int4:3", "dtype 'int4' is not one of"),
            ("a:uint16:3", "dtype 'uint16' is not one of float16, float32, float64, uint8, "),
            ("a:int64:3,a:int64:3", "the same name twice"),
        ],
    )
    def test_refuses(self, text: str, reason: str) -> None:
        with pytest.raises(ValueError, match=reason):
            InputSpec.parse(text)


class TestFromJson:
    def test_nested(self) -> None:
        array = InputSpec.parse("2x3").from_json({"features": [[1, 2, 3], [4, 5, 6]]})
        assert isinstance(array, np.ndarray)
        assert array.tolist() == [[1, 2, 3], [4, 5, 6]]

    @pytest.mark.parametrize(
        ("spec", "body", "reason"),
        [
            ("2x3", {"features": [[1, 2, 3], [4, 5]]}, r"features\[1\]: expected 3 numbers, got 2"),
            ("2x3", {"features": [[1, 2, 3]]}, "features: expected 2 lists, got 1"),
            ("2x3", {"features": [1, 2]}, r"features\[0\]: expected a list of 3, got the number 1"),
            ("2x2", {"features": [[1, 2], [3, 1e300]]}, r"features\[1\]\[1\]: 1e\+300 is too large"),
            ("a:int64:2", {}, 'no "inputs" object'),
            ("a:int64:2", {"inputs": {"b": [1, 2]}}, "'a' is missing"),
            ("a:int64:2", {"inputs": {"a": [1, 2.5]}}, r"a\[1\]: expected a whole number, got 2.5"),
            ("a:int32:2", {"inputs": {"a": [1, 2**31]}}, r"a\[1\]: 2147483648 does not fit int32"),
            ("a:int64:2", {"inputs": {"a": [2**64 - 1, 1]}}, r"a\[0\]: 18446744073709551615 does not fit"),
            ("a:int64:2", {"inputs": {"a": [1, True]}}, r"a\[1\]: expected a number, got true"),
            ("2", {"features": [1.0, False]}, r"features\[1\]: expected a number, got false"),
            ("2", {"features": [3.5e38, 1]}, r"features\[0\]: 3.5e\+38 is too large for float32"),
        ],
    )
    def test_refuses(self, spec: str, body: dict[str, Any], reason: str) -> None:
        with pytest.raises(DecodeError, match=reason):
            InputSpec.parse(spec).from_json(body)

    @given(st.lists(st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)))
    def test_floats_are_those_of_numpy(self, numbers: list[float]) -> None:
        numbers = [*numbers, 0.1]
        with np.errstate(over="ignore"):
            expected = np.array(numbers, np.float64).astype(np.float32)
        spec = InputSpec.parse(str(len(numbers)))
        if np.isfinite(expected).all():
            array = spec.from_json({"features": numbers})
            assert isinstance(array, np.ndarray)
            assert array.dtype == np.float32
            assert array.tobytes() == expected.tobytes()
        else:
            bad = int(np.argmax(np.isinf(expected)))
            with pytest.raises(DecodeError, match=rf"features\[{bad}\]: .* too large for float32"):
                spec.from_json({"features": numbers})

    @pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "int64"])
    def test_dtypes(self, dtype: str) -> None:
        inputs = InputSpec.parse(f"a:{dtype}:3").from_json({"inputs": {"a": [1, -2, 2**31 - 1]}})
        assert isinstance(inputs, dict)
        assert inputs["a"].dtype == dtype
        assert np.array_equal(inputs["a"], np.array([1, -2, 2**31 - 1], dtype))


class TestFromArrays:
    """What a decode hook may return."""

    @pytest.mark.parametrize(
        ("dtype", "value"),
        [
            ("float32", [1, 0.5, -3]),
            ("float32", (1.0, 0.5, -3.0)),
            ("float32", np.array([1, 0.5, -3])),
            ("float32", np.array([1, 0.5, -3], np.float16)),
            ("float32", np.array([1, 0.5, -3], ">f4")),
            ("float32", np.array([1, 2, 255], np.uint8)),
            ("float64", np.array([1, 0.5, -3], np.float32)),
            ("int64", [1, 2**62, -3]),
            ("int64", np.array([True, False, True])),
            ("int64", np.array([1, 2, 3], np.uint64)),
            ("int32", np.array([1, 2**31 - 1, -(2**31)])),
        ],
    )
    def test_takes(self, dtype: str, value: Any) -> None:
        inputs = InputSpec.parse(f"a:{dtype}:3").from_arrays({"a": value})
        assert isinstance(inputs, dict)
        assert inputs["a"].dtype == np.dtype(dtype)
        assert np.array_equal(inputs["a"], np.asarray(value))

    def test_what_fits_is_not_copied(self) -> None:
        image = np.zeros((3, 8, 8), np.float32)
        assert InputSpec.parse("3x8x8").from_arrays(image) is image

    def test_a_view_becomes_contiguous(self) -> None:
        image = np.arange(12, dtype=np.float32).reshape(2, 2, 3)
        array = InputSpec.parse("3x2x2").from_arrays(image.transpose(2, 0, 1))
        assert isinstance(array, np.ndarray)
        assert array.flags.c_contiguous
        assert array[2, 1, 0] == image[1, 0, 2]

    @pytest.mark.parametrize(
        ("spec", "value", "reason"),
        [
            ("2", {"features": [1, 2]}, "expected an array, got a dict"),
            ("2", None, r"features: expected shape \[2\], got \[\]"),
            ("2", [1, 2, 3], r"features: expected shape \[2\], got \[3\]"),
            ("2", [[1, 2]], r"features: expected shape \[2\], got \[1, 2\]"),
            ("2x2", [[1, 2], [3]], "features: not an array: "),
            ("2", ["1", "2"], "features: expected float32, got <U1"),
            ("2", [1, None], "features: expected float32, got object"),
            ("2", [1j, 2], "features: expected float32, got complex128"),
            ("2", [1, math.nan], r"features\[1\]: nan is not a finite number"),
            ("2x1", [[-math.inf], [1]], r"features\[0\]\[0\]: -inf is not a finite number"),
            ("2", [1, 1e39], r"features\[1\]: 1e\+39 is too large for float32"),
            ("a:int64:2", [1, 2], "expected a dict of a, got list"),
            ("a:int64:2,b:int64:1", {"a": [1, 2]}, "expected a dict of a, b, got a"),
            ("a:int64:2", {"a": [1, 2], "b": [1]}, "expected a dict of a, got a, b"),
            ("a:int64:2", {"a": [1.0, 2.0]}, "a: expected int64, got float64"),
            # What numpy makes of an int64 and an int that is none.
            ("a:int64:2", {"a": [1, 2**63]}, "a: expected int64, got float64"),
            ("a:int64:2", {"a": [1, 2**70]}, "a: expected int64, got object"),
            ("a:int32:2", {"a": [1, 2**31]}, r"a\[1\]: 2147483648 does not fit int32"),
            ("a:int32:1x2", {"a": [[2**40, 1]]}, r"a\[0\]\[0\]: 1099511627776 does not fit int32"),
            ("a:int64:1", {"a": np.array([2**63], np.uint64)}, r"a\[0\]: 9223372036854775808 does not fit"),
        ],
    )
    def test_refuses(self, spec: str, value: Any, reason: str) -> None:
        with pytest.raises(DecodeError, match=reason):
            InputSpec.parse(spec).from_arrays(value)


class TestDtypes:
    """Every dtype that --input_shape takes: its least and its largest number, and what it cannot hold."""

    LIMITS = (
        ("float16", [-65504.0, 65504.0], 65520),
        ("float32", [-3.4028234663852886e38, 3.4028234663852886e38], 3.5e38),
        ("float64", [-1.7976931348623157e308, 1.7976931348623157e308], None),
        ("uint8", [0, 255], 256),
        ("int8", [-128, 127], -129),
        ("int16", [-32768, 32767], 32768),
        ("int32", [-(2**31), 2**31 - 1], 2**31),
        ("int64", [-(2**63), 2**63 - 1], 2**63),
        ("bool", [False, True], 2),
    )

    @pytest.mark.parametrize(("dtype", "ends", "beyond"), LIMITS)
    def test_json(self, dtype: str, ends: list[Any], beyond: Any) -> None:
        spec = InputSpec.parse(f"a:{dtype}:2")
        inputs = spec.from_json({"inputs": {"a": ends}})
        assert isinstance(inputs, dict)
        assert (inputs["a"].dtype.name, inputs["a"].tolist()) == (dtype, ends)
        if beyond is not None:
            with pytest.raises(DecodeError, match=r"a\[1\]: "):
                spec.from_json({"inputs": {"a": [1, beyond]}})

    @pytest.mark.parametrize(("dtype", "ends", "beyond"), LIMITS)
    def test_arrays(self, dtype: str, ends: list[Any], beyond: Any) -> None:
        spec = InputSpec.parse(f"a:{dtype}:2")
        for value in (ends, np.array(ends, dtype)):
            inputs = spec.from_arrays({"a": value})
            assert isinstance(inputs, dict)
            assert (inputs["a"].dtype.name, inputs["a"].tolist()) == (dtype, ends)
        if beyond is not None:
            with pytest.raises(DecodeError, match=r"a(\[1\])?: "):
                spec.from_arrays({"a": [1, beyond]})

    @pytest.mark.parametrize(("dtype", "ends", "beyond"), LIMITS)
    def test_bytes(self, dtype: str, ends: list[Any], beyond: Any) -> None:
        data = np.array([ends], np.dtype(dtype).newbyteorder("<")).tobytes()
        inputs = InputSpec.parse(f"a:{dtype}:1x2").from_bytes(data, f"application/x-{dtype}")
        assert isinstance(inputs, dict)
        assert (inputs["a"].dtype.name, inputs["a"].tolist()) == (dtype, [ends])

    @pytest.mark.parametrize(
        ("dtype", "value", "reason"),
        [
            ("bool", [1, "true"], r"a\[1\]: expected true or false, got the string 'true'"),
            ("bool", [0, 1.0], r"a\[1\]: expected true or false, got the number 1.0"),
            ("bool", [0, -1], r"a\[1\]: expected true or false, got the number -1"),
            ("uint8", [0, -1], r"a\[1\]: -1 does not fit uint8"),
            ("uint8", [0, True], r"a\[1\]: expected a number, got true"),
            ("int8", [0, 1.5], r"a\[1\]: expected a whole number, got 1.5"),
            ("float16", [0, 1e5], r"a\[1\]: 100000 is too large for float16"),
        ],
    )
    def test_json_refusals(self, dtype: str, value: Any, reason: str) -> None:
        with pytest.raises(DecodeError, match=reason):
            InputSpec.parse(f"a:{dtype}:2").from_json({"inputs": {"a": value}})

    @pytest.mark.parametrize(
        ("dtype", "value", "reason"),
        [
            ("bool", np.array([0.0, 1.0]), "a: expected bool, got float64"),
            ("bool", np.array([0, 3]), r"a\[1\]: 3 does not fit bool"),
            ("uint8", np.array([0, -1]), r"a\[1\]: -1 does not fit uint8"),
            ("uint8", np.array([0.0, 1.0]), "a: expected uint8, got float64"),
            ("int8", np.array([0, 200], np.uint8), r"a\[1\]: 200 does not fit int8"),
            ("float16", np.array([0, 1e5], np.float32), r"a\[1\]: 100000 is too large for float16"),
        ],
    )
    def test_array_refusals(self, dtype: str, value: Any, reason: str) -> None:
        with pytest.raises(DecodeError, match=reason):
            InputSpec.parse(f"a:{dtype}:2").from_arrays({"a": value})

    @pytest.mark.parametrize(
        ("spec", "data", "media_type", "reason"),
        [
            ("a:bool:2", b"\1\2", "application/x-bool", r"a\[1\]: 2 does not fit bool"),
            ("a:uint8:2", b"\1", "application/x-uint8", "body of 1 bytes: uint8 of shape 2 takes 2"),
            ("a:float16:2", b"\0\0\0\x7c", "application/x-float16", r"a\[1\]: inf is not a finite number"),
            ("a:uint8:4", bytes(4), "application/x-float32", "takes uint8; send application/x-uint8 or JSON"),
            ("2", bytes(8), "application/x-int32", "takes float32; send application/x-float32 or JSON"),
            ("a:uint8:2,b:uint8:2", bytes(2), "application/x-uint8", "several inputs; send JSON"),
        ],
    )
    def test_bytes_refusals(self, spec: str, data: bytes, media_type: str, reason: str) -> None:
        with pytest.raises(DecodeError, match=reason):
            InputSpec.parse(spec).from_bytes(data, media_type)


def test_a_stack_has_the_batch_first() -> None:
    single, named = InputSpec.parse("2"), InputSpec.parse("a:int64:2,b:float32:1")
    assert single.stack([single.zeros()] * 3).shape == (3, 2)  # type: ignore[union-attr]
    batch = named.stack([named.zeros()] * 4)
    assert isinstance(batch, dict)
    assert (batch["a"].shape, batch["b"].shape) == ((4, 2), (4, 1))
    assert batch["a"].dtype == np.int64


def test_a_stack_keeps_rows_apart() -> None:
    spec = InputSpec.parse("2x3x4")
    rows = [np.random.default_rng(seed).normal(size=(2, 3, 4)).astype(np.float32) for seed in range(5)]
    batch = spec.stack(rows)  # type: ignore[arg-type]
    assert isinstance(batch, np.ndarray)
    assert np.array_equal(batch, np.stack(rows))
    assert batch.flags.writeable  # torch warns of tensors over read-only memory


def test_rows_that_would_mix_are_refused() -> None:
    spec = InputSpec.parse("2x3")
    with pytest.raises(InferenceError, match=r"features: expected shape \[2, 3\], got \[1, 3\]"):
        spec.stack([np.zeros((1, 3), np.float32), np.zeros((3, 3), np.float32)])
