"""Which model handler a job uses."""

from __future__ import annotations

from typing import Any

from apache_beam.ml.inference.base import ModelHandler
from apache_beam.options.pipeline_options import GoogleCloudOptions, PipelineOptions

from pipeline.engine.choice import runs_in_process
from pipeline.inference.endpoint.client import EndpointConfig
from pipeline.inference.endpoint.handler import EndpointModelHandler
from pipeline.inference.endpoint.retry_policy import RetryPolicy
from pipeline.options.address import address
from pipeline.options.job_options import ENDPOINT, JobOptions
from pipeline.request.messages import DeadLetter, Request, Result


def make_handler(
    job: JobOptions, options: PipelineOptions
) -> ModelHandler[Request, Result | DeadLetter, Any]:
    """The handler for `--inference_mode`. Contacts nothing and loads nothing."""
    if job.inference_mode == ENDPOINT:
        return EndpointModelHandler(_endpoint_config(job, options))
    # Endpoints are called by machines without torch, too; where it is there, Beam imports it all the same.
    from pipeline.inference.local.handler import LocalModelHandler

    return LocalModelHandler(job, on_dataflow=not runs_in_process(options))


def _endpoint_config(job: JobOptions, options: PipelineOptions) -> EndpointConfig:
    return EndpointConfig(
        address(
            endpoint=job.endpoint,
            location=job.endpoint_location,
            url=job.endpoint_url,
            project=options.view_as(GoogleCloudOptions).project,
            protocol=job.endpoint_protocol,
        ),
        job.endpoint_protocol,
        job.endpoint_batch_size,
        job.endpoint_max_concurrency,
        RetryPolicy(
            job.endpoint_timeout_s,
            job.endpoint_deadline_s,
            job.endpoint_scale_up_wait_s,
        ),
    )
