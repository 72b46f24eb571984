"""From a batch of requests to an answer for each: a result, or a dead letter for those to blame."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from pipeline.errors import InferenceError
from pipeline.inference import compute
from pipeline.inference.model import Model
from pipeline.inference.swap import CurrentModel
from pipeline.messages import DeadLetter, Request, Result

_LOGGER = logging.getLogger(__name__)


class DeviceLostError(Exception):
    """The GPU is of no use to this process any more: only a new process gets a working one."""


class Answerer:
    """Runs batches of requests through the model of the moment.

    A request that the model fails on, or that does not fit into memory even alone, becomes a DeadLetter; the
    others of its batch get their results.
    """

    def __init__(
        self, current: CurrentModel, *, allow_nan: bool = False, clock: Callable[[], float] = time.time
    ) -> None:
        self._current = current
        self._allow_nan = allow_nan
        self._clock = clock
        # Rows that fit into memory, by model_id, where it was once too little for more.
        self._most_rows: dict[str, int] = {}

    def __call__(self, batch: list[Request]) -> list[Result | DeadLetter]:
        """One answer for each request, in the same order.

        Raises:
            DeviceLostError: the device failed so that nothing can be computed on it any more.
        """
        # Looked at once: a model is swapped between two batches, never within one.
        model = self._current.model
        now = self._clock()
        for request in batch:
            request.timeline.batched = now
        most = self._most_rows.get(model.model_id) or len(batch)
        answers: list[Result | DeadLetter] = []
        for first in range(0, len(batch), most):
            answers += self._answer(batch[first : first + most], model)
        return answers

    def _answer(self, batch: list[Request], model: Model) -> list[Result | DeadLetter]:
        start = self._clock()
        try:
            predictions = model.predict([request.inputs for request in batch])
        except Exception as error:
            # Its frames hold the tensors that memory may have run out over.
            failure = error.with_traceback(None)
        else:
            return self._results(batch, predictions, model, start, self._clock())
        if compute.is_device_lost(failure):
            raise DeviceLostError(f"the GPU failed: {failure}") from failure
        # Halve until the offender stands alone: about 2·log2(n) extra calls for one bad request.
        half = len(batch) // 2
        if compute.is_out_of_memory(failure):
            failure.__context__ = None
            compute.release_cached_memory()
            if half:
                self._most_rows[model.model_id] = min(half, self._most_rows.get(model.model_id, half))
                _LOGGER.warning(
                    "out of memory with %d requests in a batch: at most %d from now on (%s)",
                    len(batch),
                    half,
                    failure,
                )
        if half == 0:
            return [self._refuse(batch[0], f"the model failed: {failure}", failure)]
        return self._answer(batch[:half], model) + self._answer(batch[half:], model)

    def _results(
        self, batch: list[Request], predictions: list[Any], model: Model, start: float, end: float
    ) -> list[Result | DeadLetter]:
        finite = [True] * len(batch) if self._allow_nan else _are_finite(predictions)
        answers: list[Result | DeadLetter] = []
        for request, prediction, good in zip(batch, predictions, finite, strict=True):
            request.timeline.inference_start = start
            request.timeline.inference_end = end
            if good:
                answers.append(Result(request, prediction, model.model_id, len(batch)))
            else:
                answers.append(
                    self._refuse(request, "the model's output holds NaN or infinity (see --allow_nan)")
                )
        return answers

    def _refuse(self, request: Request, reason: str, cause: Exception | None = None) -> DeadLetter:
        error = InferenceError(reason, request.request_id)
        error.__cause__ = cause
        return DeadLetter.of(error, request.data, request.attributes, self._clock())


def _are_finite(predictions: list[Any]) -> list[bool]:
    """Whether each prediction is free of NaN and infinity. Asked of all at once: one by one costs 1.5 µs each."""
    first = predictions[0]
    if isinstance(first, dict):
        named = [_are_finite([prediction[name] for prediction in predictions]) for name in first]
        return [all(row) for row in zip(*named, strict=True)]
    if first.dtype.kind != "f":
        return [True] * len(predictions)
    flags: list[bool] = np.isfinite(predictions).reshape(len(predictions), -1).all(axis=1).tolist()
    return flags
