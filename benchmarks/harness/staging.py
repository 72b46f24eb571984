"""What the Dataflow runner makes of a job, built offline and without credentials."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability.api import beam_runner_api_pb2

from pipeline.job import graph
from pipeline.job.command_line import pipeline_options, problems

PROJECT_FLAGS = ("--project=my-project", "--region=us-central1", "--job_name=test")


class WrongFlagsError(Exception):
    """The job refuses its command line."""


@dataclass(frozen=True)
class Staged:
    """`job`: the Job, as the REST API takes it. `proto`: the graph, which the service reads besides."""

    job: dict[str, Any]
    proto: beam_runner_api_pb2.Pipeline

    @property
    def leaves(self) -> dict[str, str]:
        """Environment ids by the names of the transforms that have one."""
        return {
            transform.unique_name: transform.environment_id
            for transform in self.proto.components.transforms.values()
            if transform.environment_id and not transform.subtransforms
        }

    @property
    def worker_options(self) -> str:
        """The pipeline options as JSON, as the service gives them to each SDK process."""
        return json.dumps(_whole(self.job["environment"]["sdkPipelineOptions"]))


def offline_flags(folder: Path) -> list[str]:
    """Return flags with which the runner writes job and graph into `folder` and calls nobody."""
    for name in ("temp", "staging"):
        (folder / name).mkdir(parents=True)
    return [
        *PROJECT_FLAGS,
        "--runner=DataflowRunner",
        f"--temp_location={folder / 'temp'}",
        f"--staging_location={folder / 'staging'}",
        f"--template_location={folder / 'job.json'}",
        "--no_auth",
        # Only for this host does Beam take folders where it wants buckets. It also makes the kind of the pool
        # and of its data disk local, which in a launch it is not.
        "--dataflow_endpoint=http://localhost:1",
        "--sdk_location=container",
    ]


def written(folder: Path) -> Staged:
    """Return what a launch with the `offline_flags` of this folder has left there."""
    proto = beam_runner_api_pb2.Pipeline()
    proto.ParseFromString((folder / "staging" / "pipeline.pb").read_bytes())
    return Staged(json.loads((folder / "job.json").read_text()), proto)


def staged(folder: Path, argv: Sequence[str]) -> Staged:
    """Build the job of these flags.

    Args:
        folder: A new one, for what the runner writes.
        argv: The job's command line, without those that `offline_flags` has.

    Raises:
        WrongFlagsError: Says what is wrong with them.
    """
    argv = [*argv, *offline_flags(folder)]
    found = problems(argv)
    if found:
        raise WrongFlagsError("; ".join(found))
    return _run(folder, pipeline_options(argv), graph.build)


def staged_graph(folder: Path, build: Callable[[beam.Pipeline, PipelineOptions], None]) -> Staged:
    """Build any other streaming graph, with Beam's own options alone. `folder` is a new one."""
    return _run(folder, PipelineOptions([*offline_flags(folder), "--streaming"]), build)


def _run(
    folder: Path, options: PipelineOptions, build: Callable[[beam.Pipeline, PipelineOptions], None]
) -> Staged:
    pipeline = beam.Pipeline(options=options)
    build(pipeline, options)
    pipeline.run()
    return written(folder)


def _whole(value: Any) -> Any:
    """Return JSON with whole numbers as integers.

    In the Job all numbers are doubles. The boot program of the container writes them as Go's protojson does,
    300 and not 300.0, and Beam's parser of the options takes nothing else for an integer.
    """
    if isinstance(value, dict):
        return {key: _whole(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_whole(each) for each in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
