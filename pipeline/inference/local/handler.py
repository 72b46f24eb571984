"""In-process inference: a Beam ModelHandler over the one PyTorch model of the process."""

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
    """The model handler that runs bundles on the process's model, where they meet other bundles."""

    def __init__(self, options: JobOptions, on_dataflow: bool) -> None:
        # min = max skips Beam's batch-size estimator: a batch is what the bundle has, up to max.
        super().__init__(min_batch_size=options.max_batch_size, max_batch_size=options.max_batch_size)
        self._options = options
        self._on_dataflow = on_dataflow

    def load_model(self) -> ProcessModel:
        """Return the process's one model, which the first call loads.

        Raises:
            ModelError: See `ProcessModel`.
            TransientError: See `ProcessModel`.
        """
        # Beam holds models by weak references only, and would load the model again after a minute without
        # work.
        return registry.shared(
            ("model", repr(self._options)), lambda: ProcessModel(self._options, self._on_dataflow)
        )

    def run_inference(
        self,
        batch: Sequence[Request],
        model: ProcessModel,
        inference_args: dict[str, Any] | None = None,
    ) -> Iterable[Result | DeadLetter]:
        """Return one outcome for each request; see `ProcessModel.submit`."""
        return model.submit(batch)

    def get_num_bytes(self, batch: Sequence[Request]) -> int:
        """Return the size of the requests' bodies. Beam's default would pickle the whole batch to count."""
        return sum(len(request.data) for request in batch)

    def get_metrics_namespace(self) -> str:
        """Return the namespace of the job's metrics."""
        return metrics.NAMESPACE
