"""The golden set beside a model: requests, and what this very model must predict."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from pipeline.model.failure import said
from pipeline.model.files.regular_file import read_regular
from pipeline.model.model import Model
from pipeline.request.errors import DecodeError, ModelError
from pipeline.request.input_spec import Inputs, InputSpec

# The golden set of v2.pt2 is v2.pt2.golden.jsonl.
SUFFIX = ".golden.jsonl"

# A few dozen lines will do; all of them are in memory at once, in some ten times their size.
MOST_BYTES = 100_000_000

_MOST_ROWS = 64

# rtol and atol, as numpy.allclose has them. A number keeps 24 bits in fp32, 11 in fp16 and 8 in bf16, and the
# errors of layers add up: the logits of a 12-layer encoder, about 1 in size, were off by 0.001 and by 0.007.
_TOLERANCE = {"fp32": (1e-3, 1e-4), "fp16": (1e-2, 5e-3), "bf16": (5e-2, 3e-2)}


@dataclass(frozen=True, slots=True)
class _Case:
    """One line of the file.

    Attributes:
        line: The line's number, from 1.
        inputs: The request's inputs.
        predicted: Whether the line has a prediction.
        prediction: The prediction, as JSON has it.
    """

    line: int
    inputs: Inputs
    predicted: bool
    prediction: Any


def check(
    model: Model,
    golden_file: Path,
    spec: InputSpec,
    precision: str,
    *,
    max_batch_size: int = _MOST_ROWS,
    label: str | None = None,
) -> None:
    """Check a model's predictions against its golden set.

    Each line of the file is a request's JSON body and `"prediction"`, as a result has it: a number, lists, or
    an object of them; null stands for NaN and infinity. For a line without it the model must predict finite
    numbers. Floats may differ by what `precision` explains; whole numbers and booleans may not.

    Args:
        model: The model to check.
        golden_file: The golden set, on this machine.
        spec: The model's inputs.
        precision: The precision that the model computes in: fp32, fp16 or bf16.
        max_batch_size: Rows of the largest batch that the model takes; never more than 64 are used.
        label: How messages begin; default: `--model_pointer: ` and the path beside the file.

    Raises:
        ModelError: The file is missing, empty, larger than 100 MB, no regular file or does not fit, or a
            prediction differs.
    """
    if label is None:
        label = f"--model_pointer: {str(golden_file).removesuffix(SUFFIX)}"
    cases = _read(golden_file, spec, label)
    rows = min(max_batch_size, _MOST_ROWS)
    for first in range(0, len(cases), rows):
        batch = cases[first : first + rows]
        try:
            predictions = model.predict([case.inputs for case in batch])
        except Exception as error:
            raise ModelError(
                f"{label}{SUFFIX}, lines {batch[0].line} to {batch[-1].line}: the model failed: {said(error)}"
            ) from error
        for case, prediction in zip(batch, predictions, strict=True):
            problem = _problem(case, prediction, *_TOLERANCE[precision])
            if problem is not None:
                raise ModelError(f"{label}{SUFFIX}, line {case.line}: {problem}")


def missing(label: str, spec: InputSpec) -> ModelError:
    """Return the error of a model without a golden set, which says how to make one."""
    example = f'{spec.example()[:-1]}, "prediction": …}}'
    return ModelError(
        f"{label}{SUFFIX} is missing or empty: put there, a line each, requests and what the model must "
        f"answer: {example}"
    )


def _read(golden_file: Path, spec: InputSpec, label: str) -> list[_Case]:
    try:
        lines = read_regular(golden_file, MOST_BYTES).splitlines()
    except FileNotFoundError:
        raise missing(label, spec) from None
    except OSError as error:
        raise ModelError(f"{label}{SUFFIX} cannot be read: {error}") from error
    cases = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            body = orjson.loads(line)
            if not isinstance(body, dict):
                raise DecodeError(f"not a JSON object: expected {spec.example()}")
            inputs = spec.from_json(body)
        except (orjson.JSONDecodeError, DecodeError) as error:
            raise ModelError(f"{label}{SUFFIX}, line {number}: {error}") from None
        cases.append(_Case(number, inputs, "prediction" in body, body.get("prediction")))
    if not cases:
        raise missing(label, spec)
    return cases


def _problem(case: _Case, prediction: Any, rtol: float, atol: float) -> str | None:
    if case.predicted:
        return _difference(case.prediction, prediction, rtol, atol, "prediction")
    outputs = prediction.values() if isinstance(prediction, dict) else [prediction]
    if all(np.isfinite(output).all() for output in outputs):
        return None
    return "the model answers NaN or infinity"


def _difference(expected: Any, actual: Any, rtol: float, atol: float, place: str) -> str | None:
    """Describe how a model's prediction differs from what JSON has; return None if it does not."""
    if isinstance(actual, dict):
        if not isinstance(expected, dict) or set(expected) != set(actual):
            return f"{place}: expected an object of {', '.join(map(repr, actual))}, as the model answers"
        differences = (
            _difference(expected[name], actual[name], rtol, atol, f"{place}.{name}") for name in actual
        )
        return next(filter(None, differences), None)
    got = np.asarray(actual)
    wanted = _array(expected)
    if wanted is None or wanted.shape != got.shape:
        shape = f"numbers of shape {list(got.shape)}" if got.ndim else "one number"
        return f"{place}: expected {shape}, as the model answers"
    if got.dtype.kind == "f":
        # JSON has null for NaN and both infinities.
        known = np.where(np.isfinite(got), got, np.nan)
        same = np.isclose(known, wanted.astype(np.float64), rtol=rtol, atol=atol, equal_nan=True)
    else:
        same = got == wanted
    if np.all(same):
        return None
    index = np.unravel_index(int(np.argmin(same)), got.shape)
    where = place + "".join(f"[{int(i)}]" for i in index)
    return f"{where}: the model answers {got[index]}, expected is {wanted[index]}"


def _array(value: Any) -> np.ndarray | None:
    try:
        array = np.array(value)
        # With null in it, it is an array of objects.
        array = array.astype(np.float64) if array.dtype.kind == "O" else array
    except (TypeError, ValueError):
        return None
    return array if array.dtype.kind in "biuf" else None
