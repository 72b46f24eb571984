"""The hint, as it stands in what the Dataflow runner stages."""

from __future__ import annotations

from pathlib import Path

import apache_beam as beam
import pytest

from benchmarks.harness.staging import Staged, staged
from pipeline.engine.hints import limit_active_bundles
from tests.pipeline.job.test_command_line import ENDPOINT, line

URN = "beam:resources:max_active_bundles_per_worker:v1"


@pytest.mark.parametrize("mode", [{}, ENDPOINT], ids=["local", "endpoint"])
def test_the_staged_value_is_the_flags(mode: dict[str, str], tmp_path: Path) -> None:
    job = staged(tmp_path, line(**mode, max_active_bundles_per_worker="7"))
    environments, proto = job.leaves, job.proto
    assert {"Decode", "Infer/BeamML_RunInference", "Encode/ParDo(Encode)"} <= set(environments)
    # All in one environment: between two, nothing would be fused.
    (environment_id,) = set(environments.values())
    assert dict(proto.components.environments[environment_id].resource_hints) == {URN: b"7"}
    hints = [dict(e.resource_hints) for e in proto.components.environments.values()]
    assert hints.count({}) == len(hints) - 1


def test_without_the_flag_there_is_no_hint(tmp_path: Path) -> None:
    proto = staged(tmp_path, line(**ENDPOINT)).proto
    assert all(not environment.resource_hints for environment in proto.components.environments.values())


def test_other_hints_stay() -> None:
    pipeline = beam.Pipeline()
    pipeline | beam.Create([1]) | "Hinted" >> beam.Map(print).with_resource_hints(min_ram="1GB")
    limit_active_bundles(pipeline, 3)
    proto = pipeline.to_runner_api()
    hinted = dict(proto.components.environments[Staged({}, proto).leaves["Hinted"]].resource_hints)
    assert hinted == {URN: b"3", "beam:resources:min_ram_bytes:v1": b"1000000000"}
