"""Two inputs, two outputs."""

from __future__ import annotations

from typing import Any

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """What the Python backend looks for."""

    def execute(self, requests: list[Any]) -> list[Any]:
        """Return a response for each request."""
        responses = []
        for request in requests:
            ids = pb_utils.get_input_tensor_by_name(request, "ids").as_numpy()
            scale = pb_utils.get_input_tensor_by_name(request, "scale").as_numpy()
            sums = (ids[:, :2] * scale).astype("float64")
            outputs = [pb_utils.Tensor("sums", sums), pb_utils.Tensor("count", ids.sum(axis=1))]
            responses.append(pb_utils.InferenceResponse(output_tensors=outputs))
        return responses
