"""Which transforms Beam's in-process engine runs together, and the check that ours all are."""

from __future__ import annotations

import apache_beam as beam
from apache_beam.portability.common_urns import sdf_components
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner
from apache_beam.runners.worker.bundle_processor import DATA_OUTPUT_URN
from apache_beam.transforms.environments import EmbeddedPythonEnvironment

_READS = sdf_components.PROCESS_SIZED_ELEMENTS_AND_RESTRICTIONS.urn


class UnfusedGraphError(ValueError):
    """The graph would acknowledge messages before their results are published."""


def fused_stages(pipeline: beam.Pipeline) -> list[dict[str, str]]:
    """Return the engine's stages in order: for each, the URN of every transform by its unique name."""
    proto = pipeline.to_runner_api(default_environment=EmbeddedPythonEnvironment.default())
    _, stages = FnApiRunner().create_stages(proto)
    return [{t.unique_name: t.spec.urn for t in stage.transforms} for stage in stages]


def check(pipeline: beam.Pipeline) -> None:
    """Check that all that comes after a streaming read runs in the read's own stage.

    Behind a stage boundary (a Flatten, GroupByKey, Reshuffle, state, side input, a resource hint on one
    transform) the engine runs the sinks only when the source ends, having long acknowledged what it read.

    Raises:
        UnfusedGraphError: It does not, or there is no streaming read; names the transforms.
    """
    stages = fused_stages(pipeline)
    if not any(_READS in stage.values() for stage in stages):
        raise UnfusedGraphError("no stage reads a stream: use pipeline.io.source off Dataflow")
    for stage in stages:
        leaving = [name for name, urn in stage.items() if urn == DATA_OUTPUT_URN]
        if _READS in stage.values() and leaving:
            transforms = ", ".join(sorted(name for name, urn in stage.items() if urn != DATA_OUTPUT_URN))
            raise UnfusedGraphError(
                f"data leaves the stage that reads ({', '.join(leaving)}), so messages would be acknowledged "
                f"before their results are published. The stage holds: {transforms}. Off Dataflow, use no "
                "Flatten, GroupByKey, Reshuffle, state, side input or hint behind the source"
            )
