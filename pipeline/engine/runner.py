"""Beam's in-process engine, made fit for a job that runs for days."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from apache_beam.metrics.monitoring_infos import USER_METRIC_URNS, consolidate
from apache_beam.portability.api import metrics_pb2
from apache_beam.runners.portability.fn_api_runner import fn_runner


class StreamingRunner(fn_runner.FnApiRunner):
    """FnApiRunner whose memory does not grow with the number of bundles.

    Beam 2.77 adds up the metrics of all bundles in `run_stages` through a generator over the generator of
    the bundle before, evaluated only when the job ends: each bundle's monitoring infos (about 24 KB) stay
    in memory for good, and reading a metric at the end recurses once a bundle. Here they are added up as
    they come. Only the users' own metrics are kept: nobody reads the others on this engine.
    """

    def run_stages(self, stage_context: Any, stages: Any) -> Any:
        """Run the stages as FnApiRunner does, adding the metrics up as they come."""
        original = fn_runner.consolidate_monitoring_infos
        fn_runner.consolidate_monitoring_infos = _add_up
        try:
            return super().run_stages(stage_context, stages)
        finally:
            fn_runner.consolidate_monitoring_infos = original


def _add_up(infos: Iterable[metrics_pb2.MonitoringInfo]) -> list[metrics_pb2.MonitoringInfo]:
    return list(consolidate(info for info in infos if info.urn in USER_METRIC_URNS))
