"""`bentoml serve benchmarks.serving.peers.bentoml_service:Model`: BentoML."""

from __future__ import annotations

import bentoml
import numpy as np

from benchmarks.serving.peers.forward import MAX_BATCH_SIZE, load, workers


@bentoml.service(workers=workers(), logging={"access": {"enabled": False}})
class Model:
    """{"instances": [row]} → [answer]."""

    def __init__(self) -> None:
        self._forward = load()

    @bentoml.api(batchable=True, max_batch_size=MAX_BATCH_SIZE)
    def predict(self, instances: np.ndarray) -> np.ndarray:
        """Compute a batch, which BentoML forms by its own rule."""
        return self._forward(instances.astype(np.float32))
