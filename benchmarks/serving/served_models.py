"""The models that all servers serve, with the rows that are sent and the answers that are right."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from benchmarks.harness.models import MODEL
from examples.breast_cancer.autoencoder import FEATURES

AUTOENCODER, MLP = "autoencoder", "mlp"
TITLES = {AUTOENCODER: "the example's autoencoder, 30 features", MLP: "MLP of 6 x 1,024 x 1,024"}

ROWS = 256  # that a server is checked with, all different
BATCH = 64  # rows of the plain forward pass
TOLERANCE = 1e-4  # of an answer, absolute and relative: sums of float32 in another order
_LAYERS, _WIDTH = 6, 1024
_TRIED = 1024  # rows, of which those are taken that no other's answer could be taken for
_FORWARDS_S = 0.3


@dataclass(frozen=True)
class ServedModel:
    """A model in two files: the .pt2 that ours takes, and the same traced as TorchScript, for all others.

    torch's own module of a .pt2 takes 50 µs for a row of the autoencoder, TorchScript 17, and ours calls
    the .pt2 in 19 (`benchmarks.model_calls`). So the others have what is cheapest for them.

    Attributes:
        name: AUTOENCODER or MLP.
        exported: The torch.export file.
        script: The TorchScript file, traced and frozen.
        rows: Inputs as clients write them, with six decimals: float32 [256, width].
        answers: What the model returns for them: float32 [256] or [256, width].
    """

    name: str
    exported: Path
    script: Path
    rows: np.ndarray
    answers: np.ndarray

    @property
    def width(self) -> int:
        """Numbers in a row."""
        return self.rows.shape[1]

    def is_right(self, number: int, answer: np.ndarray) -> bool:
        """Return whether this is the answer to row `number`, and so to no other."""
        wanted = self.answers[number]
        return answer.size == wanted.size and _alike(answer.reshape(wanted.shape), wanted, TOLERANCE)


def served_model(name: str, folder: Path) -> ServedModel:
    """Make the files of a model in a folder of their own.

    Raises:
        ValueError: Too many rows have answers so much alike that swapped ones would pass unnoticed.
    """
    exported = MODEL if name == AUTOENCODER else _mlp(folder / "model.pt2")
    width = FEATURES if name == AUTOENCODER else _WIDTH
    program = torch.export.load(exported)
    module = program.module()
    numbers = np.random.default_rng(1).standard_normal((_TRIED, width))
    if name == AUTOENCODER:
        # Records like those that it was trained with: far from them, all scores are nearly 1.
        numbers = numbers * program.state_dict["std"].numpy() + program.state_dict["mean"].numpy()
    # As clients write them: float32 with six decimals.
    rows = np.round(numbers, 6).astype(np.float32)
    script = folder / "model.pt"
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what torch.jit says of itself at each use
        traced = torch.jit.trace(module, torch.from_numpy(rows[:2]), check_trace=False)
        traced = torch.jit.freeze(traced.eval())
        traced.save(str(script))
        answers = traced(torch.from_numpy(rows)).numpy()
    kept: list[int] = []
    for number, answer in enumerate(answers):
        if len(kept) < ROWS and not any(_alike(answer, answers[other], 2 * TOLERANCE) for other in kept):
            kept.append(number)
    if len(kept) < ROWS:
        raise ValueError(f"{name}: of {_TRIED} rows {len(kept)} have answers of their own, and {ROWS} must")
    return ServedModel(name, exported, script, rows[kept], answers[kept])


def _alike(answer: np.ndarray, other: np.ndarray, tolerance: float) -> bool:
    return np.allclose(answer, other, tolerance, tolerance)


def forward_us(model: ServedModel) -> float:
    """Return the processor time of the plain forward pass, one thread and 64 rows at once, in µs a row."""
    forward = torch.jit.load(model.script)
    batch = torch.from_numpy(model.rows[:BATCH])
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            return 1e6 * _seconds_a_call(lambda: forward(batch)) / BATCH
    finally:
        torch.set_num_threads(threads)


def _seconds_a_call(call: Callable[[], object]) -> float:
    for _ in range(3):  # TorchScript compiles in its first calls with a shape
        call()
    calls, begun = 0, time.thread_time()
    while (taken := time.thread_time() - begun) < _FORWARDS_S:
        call()
        calls += 1
    return taken / calls


def _mlp(path: Path) -> Path:
    """Write an MLP. Its weights keep the size of what comes in, so that different rows differ at the end."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        layers = [nn.Linear(_WIDTH, _WIDTH) for _ in range(_LAYERS)]
        for layer in layers:
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    parts = [part for layer in layers for part in (layer, nn.ReLU())]
    module = nn.Sequential(*parts[:-1]).eval()
    batch = torch.export.Dim("batch")
    program = torch.export.export(module, (torch.zeros(2, _WIDTH),), dynamic_shapes=({0: batch},))
    torch.export.save(program, path)
    return path
