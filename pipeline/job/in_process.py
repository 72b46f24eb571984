"""The job on Beam's in-process engine: the model first, then the stream, then a clean end."""

from __future__ import annotations

import logging
import re
import sys

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions
from google.api_core.exceptions import GoogleAPICallError
from google.auth.exceptions import DefaultCredentialsError

from pipeline.engine.runner import StreamingRunner
from pipeline.job import graph, topics
from pipeline.job.command_line import job_options
from pipeline.job.handler import make_handler
from pipeline.process import registry
from pipeline.process.exit import TRY_AGAIN
from pipeline.process.stop import stop_signal
from pipeline.request.errors import (
    EndpointError,
    HookError,
    ModelError,
    SubscriptionError,
    TransientError,
)

_LOGGER = logging.getLogger(__name__)


def run(options: PipelineOptions) -> int:
    """Run until told to stop or failed, and return the exit code that `main` documents."""
    job = job_options(options)
    stop = stop_signal()
    stop.install(job.run_for_s)
    if options.view_as(StandardOptions).runner != "FnApiRunner":
        _LOGGER.info("running on Beam's in-process engine (FnApiRunner), one worker, this process")
    # What a DoFn raises comes out of run() and is reported below; Beam would log it too, in 50 lines.
    logging.getLogger("apache_beam.runners.common").setLevel(logging.CRITICAL)
    try:
        if wrong := topics.problems(job):
            print("\n".join(wrong), file=sys.stderr)
            return 2
        # Before anything is read: a model that does not load must not cost a delivery.
        model = make_handler(job, options).load_model()
        pipeline = beam.Pipeline(runner=StreamingRunner(), options=options)
        graph.build(pipeline, options)
        _LOGGER.info("reading %s, %s", job.input_subscription, model)
        pipeline.run()
    except (ModelError, HookError) as error:
        print(error, file=sys.stderr)
        return 2
    except TransientError as error:
        if stop.requested:
            _LOGGER.info("stopped: %s. What was not answered is given back", _without_step(error))
            return 0
        _LOGGER.error(
            "%s. What was not answered is given back and will be delivered again", _without_step(error)
        )
        return TRY_AGAIN
    except DefaultCredentialsError as error:
        fix = "run `gcloud auth application-default login`, or export PUBSUB_EMULATOR_HOST for a local broker"
        _LOGGER.error("no Google Cloud credentials (%s): %s", error, fix)
        return 1
    except (SubscriptionError, EndpointError, GoogleAPICallError) as error:
        _LOGGER.error("%s. What was not answered is given back", _without_step(error))
        return 1
    except Exception:
        _LOGGER.exception("the job failed; what was not answered is given back")
        return 1
    finally:
        registry.close_all()
    _LOGGER.info("stopped cleanly")
    return 0


def _without_step(error: Exception) -> str:
    """Return the message without the step that Beam adds to it."""
    return re.sub(r" \[while running '[^']*'\]", "", str(error))
