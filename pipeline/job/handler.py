"""Which model handler a job uses."""

from __future__ import annotations

from typing import Any

from apache_beam.ml.inference.base import ModelHandler
from apache_beam.options.pipeline_options import GoogleCloudOptions, PipelineOptions

from pipeline.inference.endpoint.client import EndpointConfig
from pipeline.inference.endpoint.handler import EndpointModelHandler
from pipeline.inference.endpoint.retrying import Patience
from pipeline.job.command_line import runs_in_process
from pipeline.options.address import address
from pipeline.options.flags import ENDPOINT, Settings
from pipeline.request.messages import DeadLetter, Request, Result


def make_handler(
    settings: Settings, options: PipelineOptions
) -> ModelHandler[Request, Result | DeadLetter, Any]:
    """The handler for `--inference_mode`. Contacts nothing and loads nothing."""
    if settings.inference_mode == ENDPOINT:
        return EndpointModelHandler(_endpoint_config(settings, options))
    # Endpoints are called by machines without torch, too; where it is there, Beam imports it all the same.
    from pipeline.inference.local.handler import LocalModelHandler

    return LocalModelHandler(settings, on_dataflow=not runs_in_process(options))


def _endpoint_config(settings: Settings, options: PipelineOptions) -> EndpointConfig:
    return EndpointConfig(
        address(
            endpoint=settings.endpoint,
            location=settings.endpoint_location,
            url=settings.endpoint_url,
            project=options.view_as(GoogleCloudOptions).project,
            protocol=settings.endpoint_protocol,
        ),
        settings.endpoint_protocol,
        settings.endpoint_batch_size,
        settings.endpoint_max_concurrency,
        Patience(
            settings.endpoint_timeout_s,
            settings.endpoint_deadline_s,
            settings.endpoint_scale_up_wait_s,
        ),
    )
