"""In-process inference: a Beam ModelHandler over a PyTorch model, whole requests in, whole results out."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from apache_beam.ml.inference.base import ModelHandler

from pipeline import registry
from pipeline.errors import InferenceError
from pipeline.inference import model as models
from pipeline.input_spec import InputSpec
from pipeline.messages import DeadLetter, Request, Result


class LocalModelHandler(ModelHandler[Request, Result | DeadLetter, models.Model]):
    """Runs batches of requests through a model held by this process.

    A request that the model fails on becomes a DeadLetter; the others of its batch get their results.
    """

    def __init__(
        self,
        model_path: str,
        spec: InputSpec,
        *,
        max_batch_size: int,
        model_class: str | None = None,
        model_params: Mapping[str, Any] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        # min = max: Beam's batch-size estimator is skipped, and a batch is what the bundle has, up to max.
        super().__init__(min_batch_size=max_batch_size, max_batch_size=max_batch_size)
        self._model_path = model_path
        self._spec = spec
        self._max_batch_size = max_batch_size
        self._model_class = model_class
        self._model_params = dict(model_params or {})
        self._clock = clock

    def load_model(self) -> models.Model:
        """The process's one model of this path; loaded at the first call.

        Raises:
            ModelError: see `pipeline.inference.model.load`.
        """
        # Beam holds models by weak references only and would load again after a minute's idleness.
        return registry.shared(
            ("model", self._model_path, self._model_class, repr(self._model_params)),
            lambda: models.load(
                self._model_path,
                self._spec,
                model_class=self._model_class,
                model_params=self._model_params,
                max_batch_size=self._max_batch_size,
            ),
        )

    def run_inference(
        self, batch: Sequence[Request], model: models.Model, inference_args: dict[str, Any] | None = None
    ) -> Iterable[Result | DeadLetter]:
        now = self._clock()
        for request in batch:
            request.timeline.batched = now
        return self._answer(list(batch), model)

    def get_num_bytes(self, batch: Sequence[Request]) -> int:
        # Of the bodies: Beam's default pickles the whole batch to count.
        return sum(len(request.data) for request in batch)

    def get_metrics_namespace(self) -> str:
        return "inference"

    def _answer(self, batch: list[Request], model: models.Model) -> list[Result | DeadLetter]:
        start = self._clock()
        try:
            predictions = model.predict([request.inputs for request in batch])
        except Exception as error:
            if len(batch) == 1:
                return [self._refuse(batch[0], f"the model failed: {error}", error)]
            # Halve until the offender stands alone: about 2·log2(n) extra calls for one bad request.
            middle = len(batch) // 2
            return self._answer(batch[:middle], model) + self._answer(batch[middle:], model)
        end = self._clock()
        answers: list[Result | DeadLetter] = []
        for request, prediction in zip(batch, predictions, strict=True):
            request.timeline.inference_start = start
            request.timeline.inference_end = end
            if _is_finite(prediction):
                answers.append(Result(request, prediction, model.model_id, len(batch)))
            else:
                answers.append(self._refuse(request, "the model's output holds NaN or infinity"))
        return answers

    def _refuse(self, request: Request, reason: str, cause: Exception | None = None) -> DeadLetter:
        error = InferenceError(reason, request.request_id)
        error.__cause__ = cause
        return DeadLetter.of(error, request.data, request.attributes, self._clock())


def _is_finite(prediction: Any) -> bool:
    if isinstance(prediction, dict):
        return all(map(_is_finite, prediction.values()))
    return prediction.dtype.kind != "f" or bool(np.isfinite(prediction).all())
