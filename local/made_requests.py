"""Requests for a model that nobody has given any for: random numbers of the right shapes and dtypes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import orjson

from loadtest.options import RunOptions
from loadtest.records import Records
from local.job_flags import JobFlags
from pipeline.request.input_spec import InputSpec, TensorSpec

COUNT = 100
_SEED = 1


def made_requests(spec: InputSpec, count: int = COUNT) -> Records:
    """Make requests, the same every time.

    Floats are of the standard normal distribution; integers are 0 and 1, which any vocabulary has.

    Args:
        spec: The model's inputs.
        count: How many.
    """
    rng = np.random.default_rng(_SEED)
    bodies = []
    for _ in range(count):
        inputs = {tensor.name: _values(tensor, rng) for tensor in spec.tensors}
        bodies.append(orjson.dumps({"inputs": inputs} if spec.named else inputs))
    return Records(bodies, [None] * count, [None] * count)


def _values(tensor: TensorSpec, rng: np.random.Generator) -> Any:
    if tensor.dtype.kind == "f":
        return rng.standard_normal(tensor.shape).round(4).tolist()
    return rng.integers(0, 2, tensor.shape).tolist()


def with_made_requests(options: RunOptions, flags: JobFlags, problems: list[str]) -> RunOptions:
    """Return the options with requests that fit the model; what prevents that is added to `problems`."""
    if flags.has_decode_hook:
        problems.append("--input: missing: with --decode_hook, you alone know what a request looks like")
        return options
    try:
        return replace(options, input=made_requests(flags.input_spec()))
    except ValueError as error:
        problems.append(f"--input_shape: {error}")
        return options
