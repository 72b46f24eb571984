"""The good requests: the example's records, and the answers that its model gives."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import orjson
import torch

from benchmarks.harness.models import MODEL
from local.run import EXAMPLE

RECORDS = EXAMPLE / "records.jsonl"


@dataclass(frozen=True)
class Good:
    """Requests and their answers.

    Attributes:
        features: float32 [records, 30].
        predictions: float32 [records].
    """

    features: np.ndarray
    predictions: np.ndarray

    @classmethod
    def read(cls) -> Good:
        """Read the example's records and compute what its model answers."""
        bodies = [orjson.loads(line) for line in RECORDS.read_bytes().splitlines()]
        features = torch.tensor([body["features"] for body in bodies], dtype=torch.float32)
        with torch.inference_mode():
            predictions = torch.export.load(MODEL).module()(features)
        return cls(features.numpy(), predictions.numpy())

    def is_right(self, number: int, prediction: object) -> bool:
        """Return whether a prediction is the model's for the request of this number."""
        expected = self.predictions[number % len(self.predictions)]
        return isinstance(prediction, float) and bool(np.isclose(prediction, expected, rtol=1e-4, atol=1e-6))

    def body(self, number: int) -> bytes:
        """Return the HTTP body of the request of this number."""
        row = self.features[number % len(self.features)]
        return orjson.dumps({"instances": [row]}, option=orjson.OPT_SERIALIZE_NUMPY)
