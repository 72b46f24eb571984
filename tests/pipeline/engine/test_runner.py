from collections.abc import Iterator
from types import GeneratorType
from typing import Any

import apache_beam as beam
from apache_beam.metrics import Metrics
from apache_beam.runners.portability.fn_api_runner import fn_runner

from pipeline.engine.runner import StreamingRunner
from pipeline.io.source import _OneStream

BUNDLES = 40


class Count(beam.DoFn):
    """One element a bundle, as the source does, until there were enough."""

    made = 0

    @beam.DoFn.unbounded_per_element()
    def process(
        self, element: bytes, tracker: Any = beam.DoFn.RestrictionParam(_OneStream())
    ) -> Iterator[int]:
        tracker.try_claim(None)
        Count.made += 1
        Metrics.counter("test", "bundles").inc()
        yield Count.made
        if Count.made < BUNDLES:
            tracker.defer_remainder()


def test_metrics_are_added_up_bundle_by_bundle() -> None:
    Count.made = 0
    original = fn_runner.consolidate_monitoring_infos
    pipeline = beam.Pipeline(runner=StreamingRunner())
    pipeline | beam.Impulse() | beam.ParDo(Count()) | beam.Map(lambda x: x)
    result = pipeline.run()

    assert Count.made == BUNDLES
    (counter,) = result.metrics().query()["counters"]
    assert counter.committed == BUNDLES
    # No generator that holds the infos of every bundle, and of the metrics only the user's own.
    kept = list(result._monitoring_infos_by_stage.values())
    assert not any(isinstance(infos, GeneratorType) for infos in kept)
    assert sorted(len(infos) for infos in kept if isinstance(infos, list)) == [0, 1]
    assert fn_runner.consolidate_monitoring_infos is original
