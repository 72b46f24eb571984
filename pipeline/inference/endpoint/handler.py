"""Endpoint inference: a Beam ModelHandler over an endpoint, whole requests in, whole results out."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from apache_beam.metrics.metric import Metrics
from apache_beam.ml.inference.base import ModelHandler

from pipeline.inference.endpoint.client import EndpointClient, EndpointConfig
from pipeline.process import registry
from pipeline.process.stop import stop_signal
from pipeline.request.messages import DeadLetter, Request, Result

NAMESPACE = "inference"
# The counter that Dataflow's autoscaler reads, by this name, in whole seconds: workers that wait for a full
# endpoint are not short of processors. Beam's own connectors count it so (ThrottlingSignaler).
THROTTLED = "cumulativeThrottlingSeconds"


class EndpointModelHandler(ModelHandler[Request, Result | DeadLetter, EndpointClient]):
    """Has an endpoint answer batches of requests. Making one contacts nothing.

    A request that the endpoint refuses becomes a DeadLetter; the others of its call get their results.
    """

    def __init__(self, config: EndpointConfig, clock: Callable[[], float] = time.time) -> None:
        # min = max: Beam's batch-size estimator is skipped. A batch is all that the bundle has, up to what
        # may be in flight at once; the client splits it into calls.
        most = config.batch_size * config.max_concurrency
        super().__init__(min_batch_size=most, max_batch_size=most)
        self._config = config
        self._clock = clock
        self._throttled_s = 0.0

    def load_model(self) -> EndpointClient:
        """The process's one client of this endpoint.

        Raises:
            EndpointError, TransientError: see `EndpointClient`.
        """
        return registry.shared(("endpoint", self._config), lambda: EndpointClient(self._config, self._clock))

    def run_inference(
        self, batch: Sequence[Request], model: EndpointClient, inference_args: dict[str, Any] | None = None
    ) -> Iterable[Result | DeadLetter]:
        now = self._clock()
        for request in batch:
            request.timeline.batched = now
        stop = stop_signal()
        return model.predict(batch, stopping=lambda: stop.requested, throttled=self._count_throttled)

    def get_num_bytes(self, batch: Sequence[Request]) -> int:
        # Of the bodies: Beam's default pickles the whole batch to count.
        return sum(len(request.data) for request in batch)

    def get_metrics_namespace(self) -> str:
        return NAMESPACE

    def _count_throttled(self, seconds: float) -> None:
        self._throttled_s += seconds
        whole = int(self._throttled_s)
        if whole:
            self._throttled_s -= whole
            Metrics.counter(NAMESPACE, THROTTLED).inc(whole)
