"""A model for Triton's Python backend, which runs a copy of this file: a model of the job, by the job's code.

Triton asks it for its inputs and outputs (auto-complete), which it tells by a run on zeros. All requests of a
batch that Triton forms are one call of the model. If that fails, all of them do.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

# The embedded Python 3.11 leaves this variable alone: https://github.com/python/cpython/issues/101471
sys.path += [place for place in os.environ["PYTHONPATH"].split(os.pathsep) if place not in sys.path]

from export.model_config import UNNAMED_OUTPUT
from pipeline.inference.endpoint.triton_codec import DATATYPES, UNNAMED_INPUT
from pipeline.model.load import load
from pipeline.model.model import Model
from pipeline.request.input_spec import Inputs, InputSpec


class TritonPythonModel:
    """What the Python backend looks for."""

    @staticmethod
    def auto_complete_config(config: Any) -> Any:
        """Add inputs, outputs and the batch size to the config."""
        spec, model, max_batch_size = _load(config.as_dict())
        for tensor in spec.tensors:
            name = tensor.name if spec.named else UNNAMED_INPUT
            config.add_input(_described(name, tensor.dtype, tensor.shape))
        outputs = model.run([spec.stack([spec.zeros()])], 1)
        for output, array in zip(outputs.names, outputs.arrays, strict=True):
            config.add_output(_described(output or UNNAMED_OUTPUT, array.dtype, array.shape[1:]))
        config.set_max_batch_size(max_batch_size)
        config.set_dynamic_batching()
        return config

    def initialize(self, args: dict[str, str]) -> None:
        """Load the model that the config's parameters name."""
        self._spec, self._model, _ = _load(json.loads(args["model_config"]))
        named = [tensor.name for tensor in self._spec.tensors]
        self._names = named if self._spec.named else [UNNAMED_INPUT]

    def execute(self, requests: list[Any]) -> list[Any]:
        """Return a response for each request."""
        bundles = [self._inputs(request) for request in requests]
        counts = [len(next(iter(bundle.values()))) for bundle in bundles]
        inputs: list[Inputs] = [bundle if self._spec.named else bundle[UNNAMED_INPUT] for bundle in bundles]
        outputs = self._model.run(inputs, sum(counts))
        responses = []
        first = 0
        for count in counts:
            tensors = [
                pb_utils.Tensor(name or UNNAMED_OUTPUT, _at_least_2d(array[first : first + count]))
                for name, array in zip(outputs.names, outputs.arrays, strict=True)
            ]
            responses.append(pb_utils.InferenceResponse(output_tensors=tensors))
            first += count
        return responses

    def _inputs(self, request: Any) -> dict[str, np.ndarray]:
        """Return the inputs in the order of --input_shape, whatever that of the request is."""
        given = {tensor.name(): tensor.as_numpy() for tensor in request.inputs()}
        return {name: given[name] for name in self._names}


def _load(config: dict[str, Any]) -> tuple[InputSpec, Model, int]:
    """Return the inputs, the model and the largest batch that the config's parameters name."""
    told = {name: value["string_value"] for name, value in config["parameters"].items()}
    spec = InputSpec.parse(told["input_shape"])
    max_batch_size = int(told["max_batch_size"])
    return spec, load(told["model_path"], spec, max_batch_size=max_batch_size), max_batch_size


def _described(name: str, dtype: np.dtype, shape: tuple[int, ...]) -> dict[str, Any]:
    return {"name": name, "data_type": f"TYPE_{DATATYPES[dtype.name]}", "dims": list(shape) or [1]}


def _at_least_2d(array: np.ndarray) -> np.ndarray:
    """Return an output as Triton has it, where a scalar has one dimension."""
    return array if array.ndim > 1 else array[:, None]
