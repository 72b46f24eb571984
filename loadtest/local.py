"""`python -m loadtest local`: broker, job and load driver on one machine, and the table at the end.

Starts the other two as processes by their public commands; imports neither.
"""

from __future__ import annotations

import argparse
import os
import secrets
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from google.api_core.exceptions import DeadlineExceeded, GoogleAPICallError, ServiceUnavailable
from google.cloud import pubsub_v1
from rich.console import Console

from loadtest import children
from loadtest.display import print_summary, progress_display
from loadtest.interrupt import stop_on_signals
from loadtest.options import RunOptions, parse
from loadtest.pubsub import PubsubError
from loadtest.run import RunError, run

EXAMPLE = Path(__file__).parents[1] / "examples" / "breast_cancer"
PROJECT = "local-project"
CREATE_WITHIN_S = 10.0
_EMULATOR = "PUBSUB_EMULATOR_HOST"
_DEFAULTS = {"rate": "200", "duration": "15", "schedule": "constant", "seed": "1"}


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
        """Names that nothing had before: Google's emulator does not forget a subscription's old readers."""
        names = []
        for purpose in ("requests", "results", "dead-letters"):
            names += [
                f"projects/{PROJECT}/topics/{purpose}-{run}",
                f"projects/{PROJECT}/subscriptions/{purpose}-{run}",
            ]
        return cls(*names)

    def create(self) -> None:
        """Creates them all on the broker at PUBSUB_EMULATOR_HOST."""
        publisher, subscriber = pubsub_v1.PublisherClient(), pubsub_v1.SubscriberClient()
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
        """The job's flags that name them."""
        return [
            "--runner=DirectRunner",
            f"--input_subscription={self.input_subscription}",
            f"--output_topic={self.output_topic}",
            f"--dead_letter_topic={self.dead_letter_topic}",
        ]


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the flags; all values are text, checked together with `loadtest run`'s."""
    parser = argparse.ArgumentParser(
        prog="./launch.sh local",
        description="Run broker, job and load driver on this machine. What follows -- goes to the job.",
        allow_abbrev=False,
    )
    parser.add_argument("--rate", help="messages a second (default: 200)")
    parser.add_argument("--duration", help="seconds to send for (default: 15)")
    parser.add_argument("--schedule", help="constant or poisson (default: constant)")
    parser.add_argument("--seed", help="of the poisson schedule (default: 1)")
    parser.add_argument("--input", help="JSON Lines file of requests (default: the example's records)")
    parser.add_argument("--out", help="folder for the results (default: runs/ and the time)")
    return parser


def local_command(arguments: Sequence[str]) -> int:
    """Runs it all. Returns 0: every request was answered; 2: wrong flags; 1: otherwise."""
    split = list(arguments).index("--") if "--" in arguments else len(arguments)
    topics = Topics.fresh(secrets.token_hex(4))
    options, problems = _options(arguments[:split], topics)
    if problems:
        print("\n".join(problems), file=sys.stderr)
        return 2
    try:
        with stop_on_signals() as stop:
            return _run(options, topics, arguments[split + 1 :], stop)
    except children.ChildError as error:
        print(f"local: {error}", file=sys.stderr)
        return 2 if error.exit_code == 2 else 1
    except (RunError, PubsubError, GoogleAPICallError) as error:
        print(f"local: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("local: ended at once by a second interrupt; no summary was written", file=sys.stderr)
        return 130


def _options(arguments: Sequence[str], topics: Topics) -> tuple[RunOptions, list[str]]:
    named, unknown = make_parser().parse_known_args(arguments)
    values = {
        **_DEFAULTS,
        "input": str(EXAMPLE / "records.jsonl"),
        "out": f"runs/{time.strftime('%Y%m%d-%H%M%S')}",
        **{name: value for name, value in vars(named).items() if value is not None},
        "project": PROJECT,
        "input_topic": topics.input_topic,
        "output_subscription": topics.output_subscription,
        "dead_letter_subscription": topics.dead_letter_subscription,
    }
    options, problems = parse([f"--{name}={value}" for name, value in values.items()])
    strangers = [
        f"{flag} is not a flag of this command: see --help; flags of the job come after --"
        for flag in unknown
    ]
    return options, strangers + problems


def _run(options: RunOptions, topics: Topics, job_flags: Sequence[str], stop: threading.Event) -> int:
    console = Console()
    options.out.mkdir(parents=True, exist_ok=True)
    with ExitStack() as started:
        if not os.environ.get(_EMULATOR):
            broker, os.environ[_EMULATOR] = children.start_broker(options.out / "broker.log")
            started.callback(os.environ.pop, _EMULATOR)
            started.callback(children.stop, broker)
        try:
            topics.create()
        except (ServiceUnavailable, DeadlineExceeded) as error:
            raise PubsubError(
                f"nothing answers at {_EMULATOR}={os.environ[_EMULATOR]}: start a broker there, or unset the "
                f"variable to have one started ({error.message})"
            ) from error
        if not any(flag.startswith("--model_path") for flag in job_flags):
            job_flags = [f"--model_path={EXAMPLE / 'model.pt2'}", *job_flags]
        log = options.out / "pipeline.log"
        job = children.Job([*topics.job_arguments(), *job_flags], log, on_failure=stop.set)
        started.callback(job.stop)
        try:
            with progress_display(console) as display:
                summary = run(options, display=display, stop=stop)
        finally:
            exit_code = job.stop()
        if job.failure:
            raise job.failure
    print_summary(console, summary)
    failures = summary.failures()
    if exit_code:
        failures.append(f"the job ended with exit code {exit_code}; see {log}")
    if job.restarts:
        print(f"local: the job was started again {job.restarts} times; see {log}", file=sys.stderr)
    warning = summary.schedule_warning()
    if warning:
        print(f"local: warning: {warning}", file=sys.stderr)
    for failure in failures:
        print(f"local: {failure}", file=sys.stderr)
    return 1 if failures else 0
