"""Which model handler a job uses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from apache_beam.ml.inference.base import ModelHandler
from apache_beam.options.pipeline_options import GoogleCloudOptions, PipelineOptions

from pipeline.engine.choice import runs_in_process
from pipeline.inference.endpoint.client import EndpointConfig
from pipeline.inference.endpoint.handler import EndpointModelHandler
from pipeline.inference.endpoint.retry_policy import RetryPolicy
from pipeline.options.address import address
from pipeline.options.job_options import ENDPOINT, LOCAL, JobOptions
from pipeline.request.messages import DeadLetter, Request, Result

_Handler: TypeAlias = ModelHandler[Request, Result | DeadLetter, Any]


def make_handler(job: JobOptions, options: PipelineOptions) -> _Handler:
    """Make the handler for `--inference_mode`. Contacts nothing and loads nothing."""
    return _BY_MODE[job.inference_mode](job, options)


def _local(job: JobOptions, options: PipelineOptions) -> _Handler:
    # Not above: machines without torch call endpoints, too. Where torch is there, Beam imports it anyway.
    from pipeline.inference.local.handler import LocalModelHandler

    return LocalModelHandler(job, on_dataflow=not runs_in_process(options))


def _endpoint(job: JobOptions, options: PipelineOptions) -> _Handler:
    config = EndpointConfig(
        address(
            endpoint=job.endpoint,
            location=job.endpoint_location,
            url=job.endpoint_url,
            token_host=job.endpoint_token_host,
            project=options.view_as(GoogleCloudOptions).project,
            protocol=job.endpoint_protocol,
            model=job.endpoint_model,
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
    return EndpointModelHandler(config)


_BY_MODE: Mapping[str, Callable[[JobOptions, PipelineOptions], _Handler]] = {
    LOCAL: _local,
    ENDPOINT: _endpoint,
}
