"""Endpoint inference: a Beam ModelHandler over an endpoint, requests in, results out."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from apache_beam.ml.inference.base import ModelHandler

from pipeline import metrics
from pipeline.inference.endpoint.client import EndpointClient, EndpointConfig
from pipeline.process import registry
from pipeline.process.stop import stop_signal
from pipeline.request.messages import DeadLetter, Request, Result


class EndpointModelHandler(ModelHandler[Request, Result | DeadLetter, EndpointClient]):
    """The model handler that sends batches of requests to an endpoint. Making one contacts nothing.

    A request that the endpoint refuses becomes a DeadLetter; the others of its call get their results.
    """

    def __init__(self, config: EndpointConfig, clock: Callable[[], float] = time.time) -> None:
        # min = max skips Beam's batch-size estimator. A batch is all that the bundle has, up to what may be
        # in flight at once; the client splits it into calls.
        most = config.batch_size * config.max_concurrency
        super().__init__(min_batch_size=most, max_batch_size=most)
        self._config = config
        self._clock = clock
        self._throttled_s = 0.0

    def load_model(self) -> EndpointClient:
        """Return the process's one client of this endpoint.

        Raises:
            EndpointError: See `EndpointClient`.
            TransientError: See `EndpointClient`.
        """
        return registry.shared(("endpoint", self._config), lambda: EndpointClient(self._config, self._clock))

    def run_inference(
        self, batch: Sequence[Request], model: EndpointClient, inference_args: dict[str, Any] | None = None
    ) -> Iterable[Result | DeadLetter]:
        """Return one outcome for each request; see `EndpointClient.predict`."""
        now = self._clock()
        for request in batch:
            request.timeline.batched = now
        stop = stop_signal()
        return model.predict(batch, stopping=lambda: stop.requested, throttled=self._count_throttled)

    def get_num_bytes(self, batch: Sequence[Request]) -> int:
        """Return the size of the requests' bodies. Beam's default would pickle the whole batch to count."""
        return sum(len(request.data) for request in batch)

    def get_metrics_namespace(self) -> str:
        """Return the namespace of the job's metrics."""
        return metrics.NAMESPACE

    def _count_throttled(self, seconds: float) -> None:
        self._throttled_s += seconds
        whole = int(self._throttled_s)
        if whole:
            self._throttled_s -= whole
            metrics.count_throttled(whole)
