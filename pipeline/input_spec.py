"""What the model takes: names, shapes and dtypes; and turning request data into exactly that."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from pipeline.errors import DecodeError

Inputs = np.ndarray | dict[str, np.ndarray]

_DTYPES = ("float32", "float64", "int32", "int64")


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input tensor of one request, without the batch dimension."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype

    def from_json(self, value: Any) -> np.ndarray:
        """An array of `shape` and `dtype` from nested JSON lists.

        Raises:
            DecodeError: another nesting or length, something that is not a number, or a number that the
                dtype cannot hold.
        """
        flat: list[float] = []
        self._flatten(value, self.shape, self.name, flat)
        if self.dtype.kind == "i":
            return self._integers(flat)
        # float64 first: a number too large for float32 then shows as an infinity that was not sent.
        with np.errstate(over="ignore"):
            array = np.array(flat, np.float64).astype(self.dtype)
        if not np.isfinite(array).all():
            bad = int(np.argmin(np.isfinite(array)))
            raise DecodeError(f"{self._place(bad)}: {flat[bad]:.6g} is too large for {self.dtype}")
        return array.reshape(self.shape)

    def from_bytes(self, data: bytes) -> np.ndarray:
        """A read-only array over `data` (little-endian, no copy).

        Raises:
            DecodeError: another number of bytes than the shape takes, or a NaN or infinity.
        """
        wanted = prod(self.shape) * self.dtype.itemsize
        if len(data) != wanted:
            raise DecodeError(
                f"body of {len(data)} bytes: {self.dtype} of shape {_shape_text(self.shape)} takes {wanted}"
            )
        array = np.frombuffer(data, self.dtype.newbyteorder("<"))
        if not np.isfinite(array).all():
            bad = int(np.argmin(np.isfinite(array)))
            raise DecodeError(f"{self._place(bad)}: {array[bad]} is not a finite number")
        return array.reshape(self.shape)

    def _flatten(self, value: Any, shape: tuple[int, ...], place: str, flat: list[float]) -> None:
        if not isinstance(value, list):
            raise DecodeError(f"{place}: expected a list of {shape[0]}, got {_kind(value)}")
        if len(value) != shape[0]:
            what = "numbers" if len(shape) == 1 else "lists"
            raise DecodeError(f"{place}: expected {shape[0]} {what}, got {len(value)}")
        if len(shape) > 1:
            for index, item in enumerate(value):
                self._flatten(item, shape[1:], f"{place}[{index}]", flat)
            return
        # Types by identity: bool is an int to isinstance, and numpy would take "1.5" and null for numbers.
        if not set(map(type, value)) <= {int, float}:
            index, item = next((i, v) for i, v in enumerate(value) if type(v) not in (int, float))
            raise DecodeError(f"{place}[{index}]: expected a number, got {_kind(item)}")
        flat.extend(value)

    def _integers(self, flat: list[float]) -> np.ndarray:
        limits = np.iinfo(self.dtype)
        for index, number in enumerate(flat):
            if type(number) is not int:
                raise DecodeError(f"{self._place(index)}: expected a whole number, got {number!r}")
            if not limits.min <= number <= limits.max:
                raise DecodeError(f"{self._place(index)}: {number} does not fit {self.dtype}")
        return np.array(flat, self.dtype).reshape(self.shape)

    def _place(self, flat_index: int) -> str:
        indices = np.unravel_index(flat_index, self.shape)
        return self.name + "".join(f"[{int(index)}]" for index in indices)


@dataclass(frozen=True, slots=True)
class InputSpec:
    """All input tensors of one request. `named` says whether they come under `inputs` or as `features`."""

    tensors: tuple[TensorSpec, ...]
    named: bool

    @classmethod
    def parse(cls, text: str) -> InputSpec:
        """`30` or `3x224x224` for one float32 tensor; `ids:int64:128,mask:int64:128` for named ones.

        Raises:
            ValueError: the text is neither; the message says what is wrong.
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
        """The inputs out of a request's JSON object.

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

    def from_bytes(self, data: bytes) -> np.ndarray:
        """The one float32 input out of a binary body.

        Raises:
            DecodeError: the model takes something else, or the bytes do not fit.
        """
        if self.named:
            raise DecodeError("application/x-float32: this model takes named inputs; send JSON")
        return self.tensors[0].from_bytes(data)

    def zeros(self) -> Inputs:
        """One request's inputs, all zero, to check a model with."""
        arrays = {t.name: np.zeros(t.shape, t.dtype) for t in self.tensors}
        return arrays if self.named else arrays["features"]

    def stack(self, rows: list[Inputs]) -> Inputs:
        """One batch, shape [len(rows), …], from the inputs of single requests."""
        if not self.named:
            return np.stack(rows)  # type: ignore[arg-type]
        return {t.name: np.stack([row[t.name] for row in rows]) for t in self.tensors}

    def example(self) -> str:
        """What a request looks like, for messages."""
        if not self.named:
            return f'{{"features": [{_shape_text(self.tensors[0].shape)} numbers]}}'
        inner = ", ".join(f'"{t.name}": [{_shape_text(t.shape)} {t.dtype}]' for t in self.tensors)
        return f'{{"inputs": {{{inner}}}}}'


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
