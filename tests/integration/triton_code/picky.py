"""Sums of rows; it raises where it finds a 13, as a model does that cannot compute a row."""

from __future__ import annotations

from typing import Any

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """What the Python backend looks for."""

    def execute(self, requests: list[Any]) -> list[Any]:
        """Return a response for each request."""
        responses = []
        for request in requests:
            rows = pb_utils.get_input_tensor_by_name(request, "INPUT__0").as_numpy()
            if (rows == 13).any():
                raise ValueError("13 is poison")
            output = pb_utils.Tensor("OUTPUT__0", rows.sum(axis=1))
            responses.append(pb_utils.InferenceResponse(output_tensors=[output]))
        return responses
