"""What the model takes: names, shapes and dtypes; and how request data becomes exactly that."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import chain
from math import isfinite, prod
from typing import Any

import numpy as np

from pipeline.request.errors import DecodeError, InferenceError

Inputs = np.ndarray | dict[str, np.ndarray]

# The dtypes that inputs may have, and their letters in the formats of `struct`.
_DTYPES = {
    "float16": "e",
    "float32": "f",
    "float64": "d",
    "uint8": "B",
    "int8": "b",
    "int16": "h",
    "int32": "i",
    "int64": "q",
    "bool": "?",
}
# Types by identity: bool is an int to isinstance.
_NUMBERS = frozenset({int, float})
_TRUTHS = frozenset({int, bool})
_BITS = frozenset({0, 1})
# Letters of numpy's kinds: by that of an input, those of arrays that become one without losing their meaning.
_CASTS = {"f": "fiub", "i": "iub", "u": "iub", "b": "iub"}

RAW_TYPES = {f"application/x-{name}": np.dtype(name) for name in _DTYPES}
"""The dtypes of raw bodies by media type (`raw_type`): little-endian, C order; a bool is a byte, 0 or 1."""


def raw_type(dtype: np.dtype) -> str:
    """Return the media type of raw bodies of a dtype."""
    return f"application/x-{dtype.name}"


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input tensor of one request.

    Attributes:
        name: `features` where it has no other.
        shape: Without the batch dimension.
        dtype: One of float16, float32, float64, uint8, int8, int16, int32, int64, bool.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype

    def from_json(self, value: Any, *, only_numbers: bool = False) -> np.ndarray:
        """Make a read-only array of `shape` and `dtype` from nested JSON lists (which hold no NaN).

        Args:
            value: As it was parsed.
            only_numbers: Whether its text is known to hold lists and numbers alone.

        Raises:
            DecodeError: The nesting or a length is another, or an element is not a number, or not one that
                the dtype can hold. bool holds true and false, 1 and 0.
        """
        flat = self._flat(value, self.shape, self.name, only_numbers)
        try:
            data = _packer(self.dtype, len(flat))(*flat)
        except (struct.error, OverflowError):
            if only_numbers:
                return self.from_json(value)  # which says what is wrong
            raise self._misfit(flat) from None
        return np.frombuffer(data, self.dtype).reshape(self.shape)

    def from_bytes(self, data: bytes) -> np.ndarray:
        """Make a read-only array of `shape` and `dtype` over `data` (little-endian, no copy).

        Raises:
            DecodeError: The number of bytes is not what the shape takes, or there is a NaN or infinity, or a
                bool that is neither 0 nor 1.
        """
        wanted = prod(self.shape) * self.dtype.itemsize
        if len(data) != wanted:
            raise DecodeError(
                f"body of {len(data)} bytes: {self.dtype} of shape {_shape_text(self.shape)} takes {wanted}"
            )
        array = np.frombuffer(data, self.dtype.newbyteorder("<"))
        if self.dtype.kind == "f":
            bad = _not_finite(array)
            if bad is not None:
                raise DecodeError(f"{self._place(bad)}: {array[bad]} is not a finite number")
        elif self.dtype.kind == "b":
            # torch and numpy take each byte of a bool for 0 or 1, and compute nonsense with others.
            numbers = array.view(np.uint8)
            bad = int(numbers.argmax())
            if numbers[bad] > 1:
                raise DecodeError(f"{self._place(bad)}: {numbers[bad]} does not fit bool")
        return array.reshape(self.shape)

    def from_array(self, value: Any) -> np.ndarray:
        """Make a contiguous array of `shape` and `dtype` from an array, or what numpy makes one of.

        Casts within a kind (float64 to float32), among integers and from integers to floats, as JSON numbers
        are, and 0 and 1 to bool; never from floats to integers.

        Raises:
            DecodeError: The shape or kind is another, or there is a NaN or infinity, or a number that the
                dtype cannot hold.
        """
        try:
            given = np.asarray(value)
        except Exception as error:  # lists of unequal lengths; a tensor that is not on the CPU
            raise DecodeError(f"{self.name}: not an array: {error}") from None
        if given.shape != self.shape:
            raise DecodeError(f"{self.name}: expected shape {list(self.shape)}, got {list(given.shape)}")
        if given.dtype.kind not in _CASTS[self.dtype.kind]:
            raise DecodeError(f"{self.name}: expected {self.dtype}, got {given.dtype}")
        with np.errstate(over="ignore"):
            array = np.ascontiguousarray(given, self.dtype)
        if self.dtype.kind == "f":
            bad = _not_finite(array)
            if bad is not None:
                number = given.item(bad)
                problem = f"too large for {self.dtype}" if isfinite(number) else "not a finite number"
                raise DecodeError(f"{self._place(bad)}: {number:.6g} is {problem}")
        elif not np.can_cast(given.dtype, self.dtype) and (array != given).any():
            bad = int(np.argmax(array != given))
            raise DecodeError(f"{self._place(bad)}: {given.item(bad)} does not fit {self.dtype}")
        return array

    def stack(self, rows: list[np.ndarray]) -> np.ndarray:
        """Make one batch, shape [len(rows), …]; of a single row it is a view.

        Raises:
            InferenceError: A row has another shape. Joined end to end, rows would mix unnoticed.
        """
        for row in rows:
            if row.shape != self.shape:
                raise InferenceError(f"{self.name}: expected shape {list(self.shape)}, got {list(row.shape)}")
        if len(rows) == 1:
            return rows[0][np.newaxis]
        # A third of what np.stack costs, which makes a view of each row first.
        return np.concatenate(rows).reshape(len(rows), *self.shape)

    def _flat(self, value: Any, shape: tuple[int, ...], place: str, only_numbers: bool) -> list[float]:
        if not isinstance(value, list):
            raise DecodeError(f"{place}: expected a list of {shape[0]}, got {_kind(value)}")
        if len(value) != shape[0]:
            what = "numbers" if len(shape) == 1 else "lists"
            raise DecodeError(f"{place}: expected {shape[0]} {what}, got {len(value)}")
        if len(shape) > 1:
            rows = (
                self._flat(item, shape[1:], f"{place}[{index}]", only_numbers)
                for index, item in enumerate(value)
            )
            return list(chain.from_iterable(rows))
        if self.dtype.kind == "b":
            self._check_truths(value, place)
            return value
        if only_numbers:
            return value
        kinds = list(map(type, value))
        # The count takes 7 µs for 1,024 floats, the set alone 11.
        if kinds.count(float) != len(kinds) and not _NUMBERS.issuperset(kinds):
            index, item = next((i, v) for i, v in enumerate(value) if type(v) not in _NUMBERS)
            raise DecodeError(f"{place}[{index}]: expected a number, got {_kind(item)}")
        return value

    def _check_truths(self, value: list[Any], place: str) -> None:
        # Beforehand, as `struct` packs anything, by whether it is true.
        if _TRUTHS.issuperset(map(type, value)) and _BITS.issuperset(value):
            return
        index, item = next((i, v) for i, v in enumerate(value) if type(v) not in _TRUTHS or v not in _BITS)
        raise DecodeError(f"{place}[{index}]: expected true or false, got {_kind(item)}")

    def _misfit(self, flat: list[float]) -> DecodeError:
        """Return an error that says which of the numbers the dtype cannot hold."""
        index, number = next((i, n) for i, n in enumerate(flat) if not self._fits(n))
        if self.dtype.kind == "f":
            return DecodeError(f"{self._place(index)}: {number:.6g} is too large for {self.dtype}")
        if type(number) is not int:
            # A whole number beyond 64 bits is a float by now.
            problem = (
                f"{number:.6g} does not fit {self.dtype}"
                if abs(number) >= 2**63
                else f"expected a whole number, got {number!r}"
            )
            return DecodeError(f"{self._place(index)}: {problem}")
        return DecodeError(f"{self._place(index)}: {number} does not fit {self.dtype}")

    def _fits(self, number: float) -> bool:
        try:
            _packer(self.dtype, 1)(number)
        except (struct.error, OverflowError):
            return False
        return True

    def _place(self, flat_index: int) -> str:
        indices = np.unravel_index(flat_index, self.shape)
        return self.name + "".join(f"[{int(index)}]" for index in indices)


@dataclass(frozen=True, slots=True)
class InputSpec:
    """All input tensors of one request.

    Attributes:
        tensors: In the order of --input_shape.
        named: Whether they come by name under `inputs`, or the only one as `features`.
    """

    tensors: tuple[TensorSpec, ...]
    named: bool

    @classmethod
    def parse(cls, text: str) -> InputSpec:
        """Parse `30` or `3x224x224`, one float32 tensor, or `ids:int64:128,mask:bool:128`, named ones.

        Raises:
            ValueError: The text is neither; the message says what is wrong.
        """
        if ":" not in text:
            return cls((TensorSpec("features", _parse_shape(text), np.dtype("float32")),), named=False)
        tensors = []
        for part in text.split(","):
            fields = part.split(":")
            if len(fields) != 3 or not fields[0]:
                raise ValueError(f"{part!r} is not NAME:DTYPE:SHAPE, as in ids:int64:128")
            name, dtype, shape = fields
            if dtype not in _DTYPES:
                raise ValueError(f"dtype {dtype!r} is not one of {', '.join(_DTYPES)}")
            tensors.append(TensorSpec(name, _parse_shape(shape), np.dtype(dtype)))
        names = [tensor.name for tensor in tensors]
        if len(set(names)) < len(names):
            raise ValueError(f"the same name twice in {text!r}")
        return cls(tuple(tensors), named=True)

    def from_json(self, body: Mapping[str, Any]) -> Inputs:
        """Take the inputs out of a request's JSON object.

        Raises:
            DecodeError: `features` (or `inputs`) is missing or does not fit.
        """
        if not self.named:
            if "features" not in body:
                raise DecodeError(f'no "features": expected {self.example()}')
            return self.tensors[0].from_json(body["features"])
        inputs = body.get("inputs")
        if not isinstance(inputs, dict):
            raise DecodeError(f'no "inputs" object: expected {self.example()}')
        for tensor in self.tensors:
            if tensor.name not in inputs:
                raise DecodeError(f"inputs: {tensor.name!r} is missing: expected {self.example()}")
        return {tensor.name: tensor.from_json(inputs[tensor.name]) for tensor in self.tensors}

    def from_bytes(self, data: bytes, media_type: str) -> Inputs:
        """Take the one input out of a raw body; `media_type` is one of `RAW_TYPES`.

        Raises:
            DecodeError: The model takes several inputs, or another dtype, or the bytes do not fit.
        """
        tensor = self.tensors[0]
        if RAW_TYPES[media_type] != tensor.dtype or len(self.tensors) > 1:
            raise DecodeError(f"{media_type}: {self.raw_misfit()}")
        array = tensor.from_bytes(data)
        return {tensor.name: array} if self.named else array

    @property
    def raw_type(self) -> str | None:
        """The media type of raw bodies; None where there are several inputs, which come as JSON only."""
        return raw_type(self.tensors[0].dtype) if len(self.tensors) == 1 else None

    def raw_misfit(self) -> str:
        """Say which body to send in the place of a raw one of another media type."""
        if self.raw_type is None:
            return "this model takes several inputs; send JSON"
        return f"this model takes {self.tensors[0].dtype}; send {self.raw_type} or JSON"

    def from_arrays(self, value: Any) -> Inputs:
        """Take the inputs out of what a decode hook returned: an array, or a dict of them by name.

        Raises:
            DecodeError: The names are others, or an array does not fit.
        """
        if not self.named:
            if isinstance(value, Mapping):
                raise DecodeError("expected an array, got a dict: --input_shape names no inputs")
            return self.tensors[0].from_array(value)
        names = [tensor.name for tensor in self.tensors]
        if not isinstance(value, Mapping):
            raise DecodeError(f"expected a dict of {', '.join(names)}, got {type(value).__name__}")
        if value.keys() != set(names):
            raise DecodeError(f"expected a dict of {', '.join(names)}, got {', '.join(map(str, value))}")
        return {tensor.name: tensor.from_array(value[tensor.name]) for tensor in self.tensors}

    def zeros(self) -> Inputs:
        """Make one request's inputs, all zero, to check a model with."""
        arrays = {t.name: np.zeros(t.shape, t.dtype) for t in self.tensors}
        return arrays if self.named else arrays["features"]

    def stack(self, rows: list[Inputs]) -> Inputs:
        """Make one batch, shape [len(rows), …], from the inputs of single requests.

        Raises:
            InferenceError: A row has another shape than the model takes.
        """
        if not self.named:
            return self.tensors[0].stack(rows)  # type: ignore[arg-type]
        return {t.name: t.stack([row[t.name] for row in rows]) for t in self.tensors}

    def example(self) -> str:
        """Show what a request looks like, for messages."""
        if not self.named:
            return f'{{"features": [{_shape_text(self.tensors[0].shape)} numbers]}}'
        inner = ", ".join(f'"{t.name}": [{_shape_text(t.shape)} {t.dtype}]' for t in self.tensors)
        return f'{{"inputs": {{{inner}}}}}'


@cache
def _packer(dtype: np.dtype, count: int) -> Callable[..., bytes]:
    # struct packs to the same bits as numpy in a third of the time, and raises on what does not fit.
    return struct.Struct(f"={count}{_DTYPES[dtype.name]}").pack


def _not_finite(array: np.ndarray) -> int | None:
    """Return the index, in C order, of the first NaN or infinity."""
    finite = np.isfinite(array)
    # The index of a NaN or infinity if there is one, else of any. all() would cost three times as much.
    index = int(finite.argmin())
    return None if finite.item(index) else index


def _parse_shape(text: str) -> tuple[int, ...]:
    sizes = text.split("x")
    if not all(size.isascii() and size.isdigit() and int(size) > 0 for size in sizes):
        raise ValueError(f"{text!r} is not a shape such as 30 or 3x224x224")
    return tuple(int(size) for size in sizes)


def _shape_text(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f"the string {value[:40]!r}"
    if isinstance(value, list):
        return "a list"
    return "an object" if isinstance(value, dict) else f"the number {value}"[:60]
