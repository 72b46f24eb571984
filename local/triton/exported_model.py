"""A model for Triton's Python backend, which copies this file and runs it: a torch.export file, on the CPU.

All requests of a batch that Triton forms are one call of the model. If that fails, all of them do.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """What the Python backend looks for."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load model.pt2, which lies beside this file."""
        config = json.loads(args["model_config"])
        self._inputs = [each["name"] for each in config["input"]]
        self._outputs = [each["name"] for each in config["output"]]
        file = Path(args["model_repository"]) / args["model_version"] / "model.pt2"
        self._model = torch.export.load(file).module()
        torch.set_num_threads(1)

    def execute(self, requests: list[Any]) -> list[Any]:
        """Return a response for each request."""
        inputs = [
            [pb_utils.get_input_tensor_by_name(request, name).as_numpy() for request in requests]
            for name in self._inputs
        ]
        with torch.inference_mode():
            output = self._model(*(torch.from_numpy(np.concatenate(arrays)) for arrays in inputs))
        tensors = output if isinstance(output, (tuple, list)) else [output]
        arrays = [tensor.numpy() for tensor in tensors]
        responses = []
        first = 0
        for array in inputs[0]:
            stop = first + len(array)
            rows = zip(self._outputs, arrays, strict=True)
            tensors = [pb_utils.Tensor(name, array[first:stop]) for name, array in rows]
            responses.append(pb_utils.InferenceResponse(output_tensors=tensors))
            first = stop
        return responses
