"""Sums of rows; a request that holds a 13 gets an error of its own, which blames the request."""

from __future__ import annotations

from typing import Any

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """What the Python backend looks for."""

    def execute(self, requests: list[Any]) -> list[Any]:
        """Return a response for each request."""
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        rows = pb_utils.get_input_tensor_by_name(request, "INPUT__0").as_numpy()
        if (rows == 13).any():
            error = pb_utils.TritonError("13 is not served", pb_utils.TritonError.INVALID_ARG)
            return pb_utils.InferenceResponse(error=error)
        return pb_utils.InferenceResponse(output_tensors=[pb_utils.Tensor("OUTPUT__0", rows.sum(axis=1))])
