"""What the Dataflow runner makes of a job, built offline and without credentials."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.portability.api import beam_runner_api_pb2

from pipeline.job import graph
from pipeline.job.command_line import pipeline_options, problems

PROJECT_FLAGS = ("--project=my-project", "--region=us-central1", "--job_name=test")


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
    """Build the job of these flags."""
    argv = [*argv, *offline_flags(folder)]
    assert problems(argv) == []
    options = pipeline_options(argv)
    pipeline = beam.Pipeline(options=options)
    graph.build(pipeline, options)
    pipeline.run()
    return written(folder)
