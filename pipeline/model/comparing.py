"""Compares two models that are to be one: their answers to the same random batches."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from pipeline.model.failure import said
from pipeline.model.model import Model
from pipeline.model.outputs import OutputRows
from pipeline.request.input_spec import Inputs, InputSpec, TensorSpec

TOLERANCE = 1e-6
"""By how much two answers of the same operators may differ, absolute and relative."""

_SEED = 7


def difference(
    one: Model, other: Model, spec: InputSpec, sizes: Iterable[int], tolerance: float = TOLERANCE
) -> str:
    """Return how two models' answers differ first, as the end of a sentence; empty: they do not.

    Args:
        one: The model that is right.
        other: The one to compare.
        spec: The inputs of both. Floats are drawn around 0 with deviation 1, whole numbers are 0 or 1, of
            which an embedding knows both.
        sizes: The rows of the batches.
        tolerance: By how much they may differ, absolute and relative.
    """
    generator = np.random.default_rng(_SEED)
    for rows in sizes:
        batch = _batch(spec, rows, generator)
        try:
            problem = _unlike(one.run([batch], rows), other.run([batch], rows), tolerance)
        except Exception as error:  # a model raises whatever it likes
            return f"on a random batch of {rows} rows it fails: {said(error)}"
        if problem:
            return f"on a random batch of {rows} rows {problem}"
    return ""


def _unlike(one: OutputRows, other: OutputRows, tolerance: float) -> str:
    if one.names != other.names:
        return f"one answers {other.names}, not {one.names}"
    for right, got in zip(one.arrays, other.arrays, strict=True):
        if (right.shape, right.dtype) != (got.shape, got.dtype):
            return f"one answers {got.dtype}{list(got.shape)}, not {right.dtype}{list(right.shape)}"
        if right.dtype.kind in "fc":
            same = np.isclose(got, right, rtol=tolerance, atol=tolerance, equal_nan=True)
        else:
            same = got == right
        if not np.all(same):
            return f"{np.count_nonzero(~same):,} of {same.size:,} numbers differ by more than {tolerance:g}"
    return ""


def _batch(spec: InputSpec, rows: int, generator: np.random.Generator) -> Inputs:
    arrays = {tensor.name: _random(tensor, rows, generator) for tensor in spec.tensors}
    return arrays if spec.named else arrays[spec.tensors[0].name]


def _random(tensor: TensorSpec, rows: int, generator: np.random.Generator) -> np.ndarray:
    shape = (rows, *tensor.shape)
    if tensor.dtype.kind == "f":
        return generator.standard_normal(shape).astype(tensor.dtype)
    return generator.integers(0, 2, shape).astype(tensor.dtype)
