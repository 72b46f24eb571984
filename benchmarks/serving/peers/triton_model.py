"""A model for Triton's Python backend, which copies this file and runs it: TorchScript, on the CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """What the Python backend looks for."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load model.pt, which lies beside this file."""
        torch.set_num_threads(1)
        self._model = torch.jit.load(Path(args["model_repository"]) / args["model_version"] / "model.pt")

    def execute(self, requests: list[Any]) -> list[Any]:
        """Return a response for each request, of one call of the model."""
        inputs = [pb_utils.get_input_tensor_by_name(request, "INPUT__0").as_numpy() for request in requests]
        with torch.inference_mode():
            output = self._model(torch.from_numpy(np.concatenate(inputs))).numpy()
        if output.ndim == 1:
            output = output[:, None]  # Triton has no scalars
        responses = []
        first = 0
        for rows in inputs:
            stop = first + len(rows)
            tensor = pb_utils.Tensor("OUTPUT__0", output[first:stop])
            responses.append(pb_utils.InferenceResponse(output_tensors=[tensor]))
            first = stop
        return responses
