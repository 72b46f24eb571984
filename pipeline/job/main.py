"""Parse, validate, build, run."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence

import apache_beam as beam
from google.auth.exceptions import DefaultCredentialsError

from pipeline.engine.choice import runs_in_process
from pipeline.job import graph, in_process, topics
from pipeline.job.command_line import help_text, job_options, pipeline_options, problems, spelt, texts
from pipeline.job.model_inputs import with_input_shape
from pipeline.options.job_options import JobOptions
from pipeline.process.temporary import temporary_folder_problems
from pipeline.pubsub.emulator import emulator_problems
from pipeline.request.errors import HookError, ModelError

_LOGGER = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the job and return the exit code.

    0: it ended well or was told to stop. 1: it failed. 2: wrong flags or surroundings, or a model or hook
    that does not load. 3: trouble outside that outlasted its deadline (start it again).
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    # At INFO it logs every bundle and every type hint.
    logging.getLogger("apache_beam").setLevel(logging.WARNING)
    if (told := help_text(argv)) is not None:
        print(told)
        return 0
    if wrong := problems(argv) + emulator_problems() + temporary_folder_problems():
        print("\n".join(wrong), file=sys.stderr)
        return 2
    argv = spelt(argv)
    try:
        options = pipeline_options(with_input_shape(argv, texts(argv)))
    except ModelError as error:
        print(error, file=sys.stderr)
        return 2
    if runs_in_process(options):
        return in_process.run(options)
    if wrong := _wrong_topics(job_options(options)):
        print("\n".join(wrong), file=sys.stderr)
        return 2
    pipeline = beam.Pipeline(options=options)
    try:
        graph.build(pipeline, options)
    except HookError as error:
        print(error, file=sys.stderr)
        return 2
    pipeline.run()
    return 0


def _wrong_topics(job: JobOptions) -> list[str]:
    """Look topics up from where the driver of a Dataflow job runs, which may have no account for Pub/Sub."""
    try:
        return topics.problems(job)
    except DefaultCredentialsError as error:
        _LOGGER.warning("the topics and the subscription are not looked up: no credentials here (%s)", error)
        return []
