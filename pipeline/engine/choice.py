"""Which runner a job names: Beam's in-process engine, Dataflow, or another."""

from __future__ import annotations

from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions

# Names that mean Beam's in-process engine. Plain DirectRunner would first try to download Prism.
IN_PROCESS_RUNNERS = ("DirectRunner", "SwitchingDirectRunner", "FnApiRunner")


def runs_in_process(options: PipelineOptions) -> bool:
    """Return whether the job runs on Beam's in-process engine rather than on Dataflow."""
    return runner_name(options.view_as(StandardOptions).runner) in IN_PROCESS_RUNNERS


def runner_name(runner: str | None) -> str:
    """Return the class name of `--runner`, DirectRunner where it is not given."""
    return (runner or "DirectRunner").rpartition(".")[2]
