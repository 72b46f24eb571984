"""What `benchmarks.model_calls` measures: the processor time of one call, on one thread."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from benchmarks.harness.models import Workload
from benchmarks.model_calls.sides import Side, batch_of, check, sides

# TorchScript compiles in its first calls with a shape.
_WARM_UPS = 10


@dataclass(frozen=True)
class Cost:
    """What calls of a model in one way cost.

    Attributes:
        model: The model's title.
        side: The way's title.
        rows: Of a batch.
        rounds_us: Microseconds of processor time a call, in each round; none where it does not answer.
        making_ms: Milliseconds of processor time to make what is called.
    """

    model: str
    side: str
    rows: int
    rounds_us: tuple[float, ...]
    making_ms: float

    @property
    def median_us(self) -> float:
        """The median of the rounds; NaN without any."""
        return statistics.median(self.rounds_us) if self.rounds_us else math.nan


def measure(workload: Workload, sizes: Sequence[int], rounds: int, seconds: float) -> list[Cost]:
    """Return what a call costs for each way and number of rows; in each round the ways take turns.

    Args:
        workload: The model and its inputs.
        sizes: Rows of the batches.
        rounds: How many.
        seconds: About how long each way is called in a round.

    Raises:
        WrongAnswerError: A way that is no trace does not answer as the others.
    """
    all_sides = sides(workload)
    costs = []
    for rows in sizes:
        batch = batch_of(workload, rows)
        good = check(all_sides, batch)
        measured: dict[str, list[float]] = {side.title: [] for side in all_sides}
        with torch.inference_mode():
            for side in good:
                _call(side, batch, _WARM_UPS)
            calls = max(1, round(seconds / max(_call(good[0], batch, _WARM_UPS), 1e-6)))
            for _ in range(rounds):
                for side in good:
                    _call(side, batch, 2)  # refills the caches that the turn before has used
                    measured[side.title].append(_call(side, batch, calls) * 1e6)
        costs += [
            Cost(workload.title, side.title, rows, tuple(measured[side.title]), side.making_ms)
            for side in all_sides
        ]
    return costs


def _call(side: Side, batch: torch.Tensor, calls: int) -> float:
    """Return the seconds of processor time that a call takes, of this thread."""
    forward = side.forward
    begun = time.thread_time()
    for _ in range(calls):
        forward(batch)
    return (time.thread_time() - begun) / calls
