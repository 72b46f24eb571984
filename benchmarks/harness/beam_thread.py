"""Beam's RunInference as one bundle thread of a worker runs it, without a runner around it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
from apache_beam.internal import pickler
from apache_beam.metrics.execution import MetricsContainer
from apache_beam.ml.inference.base import ModelHandler, RunInference
from apache_beam.pipeline import AppliedPTransform, PipelineVisitor
from apache_beam.runners.worker.statesampler import StateSampler
from apache_beam.utils.counters import CounterFactory


@dataclass(frozen=True)
class Expanded:
    """What RunInference with a handler expands to.

    Attributes:
        batching: The DoFn of BatchElements, pickled; None where elements are batches already.
        inference: The DoFn of the inference, pickled.
    """

    batching: bytes | None
    inference: bytes

    @classmethod
    def of(cls, handler: ModelHandler) -> Expanded:
        """Expand RunInference with a handler, in a pipeline that never runs."""
        pipeline = beam.Pipeline()
        _ = pipeline | beam.Create([None]) | "Infer" >> RunInference(handler)
        found = _DoFns()
        pipeline.visit(found)
        *batching, inference = found.dofns
        return cls(pickler.dumps(batching[0]) if batching else None, pickler.dumps(inference))

    def set_up(self) -> InferenceSteps:
        """Return a bundle thread's own copies, set up. The first ones of a process load the model."""
        batching = None if self.batching is None else pickler.loads(self.batching)
        steps = InferenceSteps(batching, pickler.loads(self.inference))
        steps.set_up()
        return steps


class InferenceSteps:
    """A bundle thread's DoFns of RunInference. Its bundles run inside `counted_metrics`."""

    def __init__(self, batching: beam.DoFn | None, inference: beam.DoFn) -> None:
        self._batching = batching
        self._inference = inference

    def set_up(self) -> None:
        """Set up the DoFns, as a worker does for a new bundle thread."""
        if self._batching is not None:
            self._batching.setup()
        self._inference.setup()

    def tear_down(self) -> None:
        """Tear down the DoFns, as a worker does once the thread was idle for a minute."""
        if self._batching is not None:
            self._batching.teardown()
        self._inference.teardown()

    def run(self, elements: Iterable[Any]) -> Iterator[Any]:
        """Send one bundle through BatchElements, if there is one, and the inference; yield what comes out."""
        self._inference.start_bundle()
        for batch in elements if self._batching is None else self._batches(self._batching, elements):
            yield from self._inference.process(batch, None, None)
        self._inference.finish_bundle()

    def infer(self, batch: Sequence[Any]) -> list[Any]:
        """Send one bundle that is one batch, without BatchElements, and return its answers."""
        self._inference.start_bundle()
        answers = list(self._inference.process(batch, None, None))
        self._inference.finish_bundle()
        return answers

    @staticmethod
    def _batches(batching: beam.DoFn, elements: Iterable[Any]) -> Iterator[Any]:
        batching.start_bundle()
        for element in elements:
            for batch in batching.process(element):
                yield batch.value
        for windowed in batching.finish_bundle():
            yield windowed.value


@contextmanager
def counted_metrics() -> Iterator[MetricsContainer]:
    """Count the metrics of the bundles that this thread runs meanwhile, as a worker does.

    Beam finds the container by the thread. Counting is part of what a bundle costs.
    """
    metrics = MetricsContainer("Infer")
    sampler = StateSampler("Infer", CounterFactory())
    sampler.start()
    try:
        with sampler.scoped_state("Infer", "process", metrics_container=metrics):
            yield metrics
    finally:
        sampler.stop()  # its thread would keep the process from ending


class _DoFns(PipelineVisitor):
    """The DoFns under the transform named Infer, in the graph's order."""

    def __init__(self) -> None:
        self.dofns: list[beam.DoFn] = []

    def visit_transform(self, transform_node: AppliedPTransform) -> None:
        """Collect the DoFn of a transform."""
        if transform_node.full_label.startswith("Infer/"):
            self.dofns.append(transform_node.transform.fn)
