"""The model of a peer: TorchScript on one thread of the CPU."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable

import numpy as np
import torch

MODEL_VARIABLE = "BENCHMARK_MODEL"
"""Path of the TorchScript file."""
WORKERS_VARIABLE = "BENCHMARK_WORKERS"
"""How many processes compute."""
CODING_VARIABLE = "BENCHMARK_CODING"
"""How bodies are read and written; each peer has its own names."""

MAX_BATCH_SIZE = 64
WAIT_S = 0.001  # for a batch to fill

Forward = Callable[[np.ndarray], np.ndarray]


def workers() -> int:
    """Return how many processes are to compute."""
    return int(os.environ[WORKERS_VARIABLE])


def load() -> Forward:
    """Return a function from rows, float32 [n, width], to what the model returns for them."""
    torch.set_num_threads(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what torch.jit says of itself at each use
        model = torch.jit.load(os.environ[MODEL_VARIABLE])

    def forward(rows: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return model(torch.from_numpy(rows)).numpy()

    return forward
