"""Stock and ours as RunInference alone: from inputs that are ready to answers in memory, nothing decoded."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.harness.beam_thread import Expanded, counted_metrics
from benchmarks.harness.handlers import our_handler, state_dict, stock_handler
from benchmarks.harness.machine import Machine
from benchmarks.harness.models import Workload, WrongAnswerError
from pipeline.request.input_spec import Inputs
from pipeline.request.messages import Request, Result, Timeline

STOCK = "stock"
OURS = "ours"

Bundle = list[Any]


@dataclass(frozen=True)
class RequestSide:
    """One side.

    Attributes:
        title: STOCK or OURS.
        expanded: The side's RunInference.
        ready: Takes inputs, and returns a function that builds the side's bundle of them at each call.
        on_host: Returns an answer's prediction in the host's memory, from where it can be published.
        batch_size: Takes an answer and the bundle's size, and returns the size of the answer's batch.
    """

    title: str
    expanded: Expanded
    ready: Callable[[Sequence[Inputs]], Callable[[], Bundle]]
    on_host: Callable[[Any], np.ndarray]
    batch_size: Callable[[Any, int], int]


def request_sides(workload: Workload, machine: Machine, folder: Path) -> list[RequestSide]:
    """Return stock and ours. A bundle is one batch for stock, which by itself would cut it smaller."""
    weights = state_dict(workload, folder)
    return [
        RequestSide(
            STOCK,
            Expanded.of(stock_handler(workload, weights, machine)),
            _tensors,
            lambda answer: answer.inference.cpu().numpy(),
            lambda answer, bundle: bundle,
        ),
        RequestSide(
            OURS,
            Expanded.of(our_handler(workload, weights, machine)),
            _requests,
            _prediction,
            lambda answer, bundle: answer.batch_size,
        ),
    ]


def check(sides: Sequence[RequestSide], inputs: Sequence[Inputs]) -> None:
    """Send one bundle of these inputs through each side.

    Raises:
        WrongAnswerError: A side refuses a request, or its predictions are not the first side's.
    """
    expected: np.ndarray | None = None
    for side in sides:
        bundle = side.ready(inputs)()
        with counted_metrics():
            predictions = np.array([side.on_host(answer) for answer in side.expanded.set_up().infer(bundle)])
        if expected is None:
            expected = predictions
        # Loose, as float16 is: the sides may add up in another order.
        elif predictions.shape != expected.shape or not np.allclose(predictions, expected, 1e-2, 1e-2):
            raise WrongAnswerError(f"{side.title}: other predictions than {sides[0].title}'s")


def _tensors(inputs: Sequence[Inputs]) -> Callable[[], Bundle]:
    bundle: Bundle = [
        {name: torch.from_numpy(array) for name, array in each.items()}
        if isinstance(each, dict)
        else torch.from_numpy(each)
        for each in inputs
    ]
    return lambda: bundle


def _requests(inputs: Sequence[Inputs]) -> Callable[[], Bundle]:
    def bundle() -> Bundle:
        now = time.time()
        return [
            Request(str(number), each, b"", {}, b"{}", Timeline(now, now))
            for number, each in enumerate(inputs)
        ]

    return bundle


def _prediction(answer: Any) -> np.ndarray:
    if not isinstance(answer, Result):
        raise WrongAnswerError(f"ours: {answer}")
    return answer.prediction
