"""RunInference with lists between steps: a batch goes in as one element, and its answers come out as one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from apache_beam.ml.inference.base import ModelHandler

from pipeline.request.messages import DeadLetter, Request, Result


class WholeBatches(ModelHandler[Sequence[Request], Sequence[Result | DeadLetter], Any]):
    """A model handler around another, for batches that are put together already (see `Decode`)."""

    def __init__(self, handler: ModelHandler[Request, Result | DeadLetter, Any]) -> None:
        super().__init__()
        self._handler = handler

    @property
    def max_batch_size(self) -> int:
        """Most requests that the inner handler takes at once."""
        most: int = self._handler.batch_elements_kwargs()["max_batch_size"]
        return most

    def should_skip_batching(self) -> bool:
        """Return that elements are batches."""
        return True

    def load_model(self) -> Any:
        """Return the inner handler's model."""
        return self._handler.load_model()

    def run_inference(
        self, batch: Sequence[Request], model: Any, inference_args: dict[str, Any] | None = None
    ) -> Iterable[Sequence[Result | DeadLetter]]:
        """Return one element: the outcomes of the batch, in its order."""
        return ([*self._handler.run_inference(batch, model, inference_args)],)

    def get_num_bytes(self, batch: Sequence[Request]) -> int:
        """Return what the inner handler does."""
        return self._handler.get_num_bytes(batch)

    def get_metrics_namespace(self) -> str:
        """Return what the inner handler does."""
        return self._handler.get_metrics_namespace()
