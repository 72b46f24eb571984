"""In-process inference: a Beam ModelHandler over the process's one PyTorch model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from apache_beam.ml.inference.base import ModelHandler

from pipeline import metrics
from pipeline.inference.local.process_model import ProcessModel
from pipeline.options.job_options import JobOptions
from pipeline.process import registry
from pipeline.request.messages import DeadLetter, Request, Result


class LocalModelHandler(ModelHandler[Request, Result | DeadLetter, ProcessModel]):
    """Hands what a bundle has to the model, where it meets the requests of other bundles."""

    def __init__(self, options: JobOptions, on_dataflow: bool) -> None:
        # min = max: Beam's batch-size estimator is skipped, and a batch is what the bundle has, up to max.
        super().__init__(min_batch_size=options.max_batch_size, max_batch_size=options.max_batch_size)
        self._options = options
        self._on_dataflow = on_dataflow

    def load_model(self) -> ProcessModel:
        """The process's one model; loaded at the first call.

        Raises:
            ModelError: see `ProcessModel`.
        """
        # Beam holds models by weak references only and would load again after a minute's idleness.
        return registry.shared(
            ("model", repr(self._options)), lambda: ProcessModel(self._options, self._on_dataflow)
        )

    def run_inference(
        self,
        batch: Sequence[Request],
        model: ProcessModel,
        inference_args: dict[str, Any] | None = None,
    ) -> Iterable[Result | DeadLetter]:
        return model.submit(batch)

    def get_num_bytes(self, batch: Sequence[Request]) -> int:
        # Of the bodies: Beam's default pickles the whole batch to count.
        return sum(len(request.data) for request in batch)

    def get_metrics_namespace(self) -> str:
        return metrics.NAMESPACE
