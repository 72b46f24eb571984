"""`python -m benchmarks.local_engine.hybrid_job`: the stock job on this project's source, sink and engine.

It differs from stock by what reading and writing cost, and from ours by what the handler and the wire format
cost.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import apache_beam as beam
import torch
from apache_beam.ml.inference.base import RunInference
from apache_beam.options.pipeline_options import PipelineOptions

from benchmarks.harness.stock_job import Options, decode, encode, make_handler, parse
from pipeline.engine import fusion
from pipeline.engine.runner import StreamingRunner
from pipeline.io.sink import WriteToTopic
from pipeline.io.source import ReadFromSubscription
from pipeline.process import registry
from pipeline.process.stop import stop_signal

PUBLISH_DEADLINE_S = 60.0


def build(pipeline: beam.Pipeline, options: Options) -> None:
    """Add the job to `pipeline`.

    Raises:
        UnfusedGraphError: Messages would be acknowledged before their results are published.
    """
    _ = (
        pipeline
        | "Read" >> ReadFromSubscription(options.input_subscription)
        | "Decode" >> beam.Map(decode)
        | "Infer" >> RunInference(make_handler(options.state_dict))
        | "Encode" >> beam.Map(lambda answer: [encode(answer)])
        | "Write" >> WriteToTopic(options.output_topic, PUBLISH_DEADLINE_S)
    )
    fusion.check(pipeline)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the job until SIGTERM or SIGINT."""
    options = parse(arguments)
    stop_signal().install(run_for_s=None)
    # As pipeline.job.in_process does: the rows differ in nothing else than what their titles say.
    torch.set_num_threads(max(1, (os.cpu_count() or 1) - 1))
    pipeline = beam.Pipeline(runner=StreamingRunner(), options=PipelineOptions(["--streaming"]))
    build(pipeline, options)
    try:
        pipeline.run()
    finally:
        registry.close_all()


if __name__ == "__main__":
    main()
