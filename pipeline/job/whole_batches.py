"""RunInference with batches between steps: one goes in as an element, and its outcomes come out as one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from apache_beam.ml.inference.base import ModelHandler

from pipeline.request.messages import DeadLetter, Request, Result


class WholeBatches(ModelHandler[Sequence[Request | DeadLetter], Sequence[Result | DeadLetter], Any]):
    """A model handler around another, for batches that are put together already (see `Decode`).

    Dead letters in a batch pass by the inner handler, which sees requests only.
    """

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
        self,
        batch: Sequence[Request | DeadLetter],
        model: Any,
        inference_args: dict[str, Any] | None = None,
    ) -> Iterable[Sequence[Result | DeadLetter]]:
        """Return one element: the outcomes of the batch's requests, in their order, and its dead letters."""
        requests: list[Request] = []
        outcomes: list[Result | DeadLetter] = []
        for each in batch:
            if isinstance(each, DeadLetter):
                outcomes.append(each)
            else:
                requests.append(each)
        if requests:
            outcomes += self._handler.run_inference(requests, model, inference_args)
        return (outcomes,)

    def get_num_bytes(self, batch: Sequence[Request | DeadLetter]) -> int:
        """Return the size of the bodies."""
        return sum(len(each.data) for each in batch)

    def override_metrics(self, metrics_namespace: str = "") -> bool:
        """Return that RunInference reports none: they cost 0.1 ms a bundle; the job's own tell as much."""
        return True
