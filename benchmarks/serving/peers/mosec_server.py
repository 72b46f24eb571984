"""`python -m benchmarks.serving.peers.mosec_server`: mosec, with its own flags for address and port."""

from __future__ import annotations

import json
import os
from typing import Any

import numpy as np
import orjson
from mosec import Server, ValidationError, Worker

from benchmarks.serving.peers.forward import CODING_VARIABLE, MAX_BATCH_SIZE, WAIT_S, load, workers

STANDARD, ORJSON, OCTETS = "json", "orjson", "octets"


class _Batches(Worker):
    """Takes batches of rows, and returns as many answers."""

    def __init__(self) -> None:
        self._forward = load()

    def forward(self, data: list[np.ndarray]) -> list[np.ndarray]:
        """Compute a batch."""
        return list(self._forward(np.stack(data)))


class OctetsWorker(_Batches):
    """float32, little-endian, both ways."""

    def deserialize(self, data: bytes) -> np.ndarray:
        """Return the row of a body."""
        return np.frombuffer(data, "<f4")

    def serialize(self, data: np.ndarray) -> bytes:
        """Return the body of an answer."""
        return data.tobytes()


class StandardWorker(_Batches):
    """JSON by Python's own module, as mosec has it by default."""

    def deserialize(self, data: bytes) -> np.ndarray:
        """Return the row of a body."""
        return _row(json.loads(data))

    def serialize(self, data: np.ndarray) -> bytes:
        """Return the body of an answer."""
        return json.dumps({"predictions": [data.tolist()]}).encode()


class OrjsonWorker(_Batches):
    """JSON by orjson."""

    def deserialize(self, data: bytes) -> np.ndarray:
        """Return the row of a body."""
        return _row(orjson.loads(data))

    def serialize(self, data: np.ndarray) -> bytes:
        """Return the body of an answer."""
        return orjson.dumps({"predictions": [data]}, option=orjson.OPT_SERIALIZE_NUMPY)


def _row(body: Any) -> np.ndarray:
    try:
        (row,) = body["instances"]
        return np.array(row, np.float32)
    except (KeyError, TypeError, ValueError) as error:
        raise ValidationError(str(error)) from None


WORKERS = {STANDARD: StandardWorker, ORJSON: OrjsonWorker, OCTETS: OctetsWorker}

if __name__ == "__main__":
    server = Server()
    server.append_worker(
        WORKERS[os.environ[CODING_VARIABLE]],
        num=workers(),
        max_batch_size=MAX_BATCH_SIZE,
        max_wait_time=round(1000 * WAIT_S),
    )
    server.run()
