"""One local run: broker, the endpoint container if one is needed, job and load driver on this machine.

The load driver runs in this process; the others are started as processes by their public commands.
"""

from __future__ import annotations

import os
import threading
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from google.api_core.exceptions import DeadlineExceeded, ServiceUnavailable
from rich.console import Console

from loadtest.display import progress_display
from loadtest.options import RunOptions
from loadtest.pubsub import PubsubError
from loadtest.run import run
from loadtest.run_folder import make_private, note_of_earlier_results
from loadtest.summary import Summary
from local import children
from local.container import Container
from local.job_flags import JobFlags
from pipeline.pubsub.channels import publisher_client, subscriber_client

EXAMPLE = Path(__file__).parents[1] / "examples" / "breast_cancer"
PROJECT = "local-project"
CREATE_WITHIN_S = 10.0
_EMULATOR = "PUBSUB_EMULATOR_HOST"


@dataclass(frozen=True)
class Topics:
    """The topics and subscriptions of one local run, by full name."""

    input_topic: str
    input_subscription: str
    output_topic: str
    output_subscription: str
    dead_letter_topic: str
    dead_letter_subscription: str

    @classmethod
    def fresh(cls, run: str) -> Topics:
        """Return names never used before: Google's emulator does not forget a subscription's old readers."""
        names = []
        for purpose in ("requests", "results", "dead-letters"):
            names += [
                f"projects/{PROJECT}/topics/{purpose}-{run}",
                f"projects/{PROJECT}/subscriptions/{purpose}-{run}",
            ]
        return cls(*names)

    def create(self) -> None:
        """Create them all on the broker at PUBSUB_EMULATOR_HOST."""
        publisher, subscriber = publisher_client(), subscriber_client()
        for topic, subscription in (
            (self.input_topic, self.input_subscription),
            (self.output_topic, self.output_subscription),
            (self.dead_letter_topic, self.dead_letter_subscription),
        ):
            publisher.create_topic(request={"name": topic}, retry=None, timeout=CREATE_WITHIN_S)
            request = {"name": subscription, "topic": topic}
            subscriber.create_subscription(request=request, retry=None, timeout=CREATE_WITHIN_S)
        publisher.stop()
        subscriber.close()

    def job_arguments(self) -> list[str]:
        """Return the job's flags that name them."""
        return [
            "--runner=DirectRunner",
            f"--input_subscription={self.input_subscription}",
            f"--output_topic={self.output_topic}",
            f"--dead_letter_topic={self.dead_letter_topic}",
        ]

    def run_options(self, rate: float, duration: float, input: Path, out: Path) -> RunOptions:
        """Return the load driver's options on them, the others at their defaults."""
        return RunOptions(
            project=PROJECT,
            input_topic=self.input_topic,
            output_subscription=self.output_subscription,
            dead_letter_subscription=self.dead_letter_subscription,
            rate=rate,
            duration=duration,
            input=input,
            out=out,
        )


@dataclass(frozen=True)
class Outcome:
    """How a local run ended.

    Attributes:
        summary: Of the load driver.
        failures: Why the run counts as failed, a line each.
        warnings: What else the user should know, a line each.
    """

    summary: Summary
    failures: list[str]
    warnings: list[str]


def run_local(
    options: RunOptions, topics: Topics, flags: JobFlags, stop: threading.Event, console: Console
) -> Outcome:
    """Start everything, drive the job as `options` say, and stop everything.

    `stop` ends the run early; it is also set when the job or the endpoint container ends by itself.

    Raises:
        ChildError: A process did not start or ended by itself.
        RunError: The run could not begin.
        PubsubError, GoogleAPICallError: The broker cannot be used.
        FolderError: `options.out` cannot be made.
    """
    make_private(options.out)
    if note := note_of_earlier_results(options.out):
        console.print(note, markup=False, highlight=False, soft_wrap=True)
    with ExitStack() as started:
        if not os.environ.get(_EMULATOR):
            broker, os.environ[_EMULATOR] = children.start_broker(options.out / "broker.log")
            started.callback(os.environ.pop, _EMULATOR)
            started.callback(children.stop, broker)
        _create(topics)
        container = None
        endpoint_url = None
        serving_log = options.out / "serving.log"
        if flags.needs_container:
            container = Container(*flags.for_container(), serving_log, on_failure=stop.set)
            started.callback(container.stop)
            console.print("waiting for the endpoint container to be healthy", markup=False, highlight=False)
            endpoint_url = container.predict_url(stop)
        log = options.out / "pipeline.log"
        job = children.Job([*topics.job_arguments(), *flags.for_job(endpoint_url)], log, on_failure=stop.set)
        started.callback(job.stop)
        try:
            with progress_display(console) as display:
                summary = run(options, display=display, stop=stop)
        finally:
            job_code = job.stop()
            container_code = container.stop() if container else 0
        # The container's failure first: without the container the job fails, too.
        failure = (container and container.failure) or job.failure
        if failure:
            raise failure
    failures = summary.failures()
    if job_code:
        failures.append(f"the job ended with exit code {job_code}; see {log}")
    if container_code:
        failures.append(f"the endpoint container ended with exit code {container_code}; see {serving_log}")
    warnings = []
    if job.restarts:
        warnings.append(f"the job was started again {job.restarts} times; see {log}")
    missed = summary.schedule_warning()
    if missed:
        warnings.append(missed)
    return Outcome(summary, failures, warnings)


def _create(topics: Topics) -> None:
    try:
        topics.create()
    except (ServiceUnavailable, DeadlineExceeded) as error:
        raise PubsubError(
            f"nothing answers at {_EMULATOR}={os.environ[_EMULATOR]}: start a broker there, or unset the "
            f"variable to have one started ({error.message})"
        ) from error
