"""`python -m benchmarks.serving.peers.litserve_server PORT`: LitServe."""

from __future__ import annotations

import sys

import litserve
import numpy as np

from benchmarks.serving.peers.forward import MAX_BATCH_SIZE, WAIT_S, load, workers


class Api(litserve.LitAPI):
    """{"instances": [row]} → {"predictions": [answer]}.

    Without types of requests and responses, as in LitServe's own examples: FastAPI would check them.
    """

    def setup(self, device: str) -> None:
        """Load the model."""
        self._forward = load()

    def decode_request(self, request):  # type: ignore[no-untyped-def]
        """Return the row of a call."""
        (row,) = request["instances"]
        return np.array(row, np.float32)

    def batch(self, inputs: list[np.ndarray]) -> np.ndarray:
        """Make a batch."""
        return np.stack(inputs)

    def predict(self, rows: np.ndarray) -> np.ndarray:
        """Compute a batch."""
        return self._forward(rows)

    def unbatch(self, output: np.ndarray) -> list[np.ndarray]:
        """Return the answers of a batch."""
        return list(output)

    def encode_response(self, output):  # type: ignore[no-untyped-def]
        """Return the body of an answer."""
        return {"predictions": [output.tolist()]}


if __name__ == "__main__":
    api = Api(max_batch_size=MAX_BATCH_SIZE, batch_timeout=WAIT_S)
    server = litserve.LitServer(api, accelerator="cpu", devices=1, workers_per_device=workers())
    server.run(host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", generate_client_file=False)
