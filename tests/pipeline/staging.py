"""What the Dataflow runner stages for a job, built offline and without credentials."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions
from apache_beam.portability.api import beam_runner_api_pb2

from pipeline import graph
from pipeline.options import problems

PROJECT_FLAGS = ("--project=my-project", "--region=us-central1", "--job_name=test")


def staged(folder: Path, argv: Sequence[str]) -> beam_runner_api_pb2.Pipeline:
    """The pipeline proto that DataflowRunner stages in `folder` for the job's flags."""
    for name in ("temp", "staging"):
        (folder / name).mkdir()
    argv = [
        *argv,
        *PROJECT_FLAGS,
        "--runner=DataflowRunner",
        f"--temp_location={folder / 'temp'}",
        f"--staging_location={folder / 'staging'}",
        # With a local template location the runner writes the job to it, and calls nobody.
        f"--template_location={folder / 'job.json'}",
        "--no_auth",
        "--dataflow_endpoint=http://localhost:1",
        "--sdk_location=container",
    ]
    assert problems(argv) == []
    options = PipelineOptions(argv)
    options.view_as(StandardOptions).streaming = True
    pipeline = beam.Pipeline(options=options)
    graph.build(pipeline, options)
    pipeline.run()
    proto = beam_runner_api_pb2.Pipeline()
    proto.ParseFromString((folder / "staging" / "pipeline.pb").read_bytes())
    return proto
