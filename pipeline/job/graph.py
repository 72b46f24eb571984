"""The whole job on one screen."""

from __future__ import annotations

import apache_beam as beam
from apache_beam.ml.inference.base import RunInference
from apache_beam.options.pipeline_options import PipelineOptions

from pipeline.engine import fusion, hints
from pipeline.engine.choice import runs_in_process
from pipeline.io import bigquery, connectors
from pipeline.job.command_line import job_options
from pipeline.job.handler import make_handler
from pipeline.job.steps import DEAD_LETTERS, Decode, Encode
from pipeline.job.whole_batches import WholeBatches
from pipeline.request.hooks import Hook, load_hook


def build(pipeline: beam.Pipeline, options: PipelineOptions) -> None:
    """Add the job to `pipeline`.

    Raises:
        HookError: --decode_hook or --encode_hook names no function.
        UnfusedGraphError: The in-process engine would not run source to sinks as one stage.
    """
    job = job_options(options)
    in_process = runs_in_process(options)
    handler = WholeBatches(make_handler(job, options))
    decode = Decode(
        connectors.parser(job, in_process),
        job.input_shape,
        handler.max_batch_size,
        _hook("--decode_hook", job.decode_hook),
    )
    pack_dead_letters = connectors.packer(job.dead_letter_topic, in_process)
    encode = Encode(
        connectors.packer(job.output_topic, in_process),
        pack_dead_letters,
        _hook("--encode_hook", job.encode_hook),
    )

    outcomes = (
        pipeline
        | "Read" >> connectors.read(job, in_process)
        | "Decode" >> beam.ParDo(decode)
        | "Infer" >> RunInference(handler)
        | "Encode" >> beam.ParDo(encode).with_outputs(DEAD_LETTERS, main="results")
    )
    outcomes.results | "Write results" >> connectors.write(job, job.output_topic, in_process)
    outcomes[DEAD_LETTERS] | "Write dead letters" >> connectors.write(job, job.dead_letter_topic, in_process)
    if job.output_table is not None:
        table = bigquery.WriteToTable(job.output_table, pack_dead_letters)
        refused = outcomes.results | "Write rows" >> table
        refused | "Write refused rows" >> connectors.write(job, job.dead_letter_topic, in_process)

    if job.max_active_bundles_per_worker is not None:
        hints.limit_active_bundles(pipeline, job.max_active_bundles_per_worker)
    if in_process:
        fusion.check(pipeline)


def _hook(flag: str, name: str | None) -> Hook | None:
    return None if name is None else load_hook(flag, name)
