import numpy as np
import pytest

from pipeline.errors import DecodeError
from pipeline.input_spec import InputSpec


class TestParse:
    def test_one_tensor(self) -> None:
        spec = InputSpec.parse("3x224x224")
        assert [(t.name, t.shape, t.dtype) for t in spec.tensors] == [("features", (3, 224, 224), np.float32)]
        assert not spec.named

    def test_named(self) -> None:
        spec = InputSpec.parse("ids:int64:128,image:float32:3x8")
        assert [(t.name, t.shape, t.dtype) for t in spec.tensors] == [
            ("ids", (128,), np.int64),
            ("image", (3, 8), np.float32),
        ]
        assert spec.named

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("", "not a shape"),
            ("0", "not a shape"),
            ("3,4", "not a shape"),
            ("a:int64", "not NAME:DTYPE:SHAPE"),
            ("a:int8:3", "dtype 'int8' is not one of"),
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
        ],
    )
    def test_refuses(self, spec: str, body: dict, reason: str) -> None:
        with pytest.raises(DecodeError, match=reason):
            InputSpec.parse(spec).from_json(body)


def test_binary_needs_a_single_float32_input() -> None:
    with pytest.raises(DecodeError, match="send JSON"):
        InputSpec.parse("a:float32:2").from_bytes(b"\0" * 8)


def test_a_stack_has_the_batch_first() -> None:
    single, named = InputSpec.parse("2"), InputSpec.parse("a:int64:2,b:float32:1")
    assert single.stack([single.zeros()] * 3).shape == (3, 2)  # type: ignore[union-attr]
    batch = named.stack([named.zeros()] * 4)
    assert isinstance(batch, dict)
    assert (batch["a"].shape, batch["b"].shape) == ((4, 2), (4, 1))
    assert batch["a"].dtype == np.int64
