"""The topics and subscriptions of a local run."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

from google.api_core.exceptions import DeadlineExceeded, ServiceUnavailable

from loadtest.driver.pubsub import PubsubError
from loadtest.options import RunOptions
from loadtest.records import Records
from pipeline.pubsub.channels import publisher_client, subscriber_client
from pipeline.pubsub.emulator import VARIABLE

PROJECT = "local-project"
CREATE_WITHIN_S = 10.0


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

    def create(self, output_filter: str = "") -> None:
        """Create them all on the broker at PUBSUB_EMULATOR_HOST.

        Args:
            output_filter: Of the subscription of the results, in Pub/Sub's language of filters.
        """
        publisher, subscriber = publisher_client(), subscriber_client()
        for topic, subscription, filter_ in (
            (self.input_topic, self.input_subscription, ""),
            (self.output_topic, self.output_subscription, output_filter),
            (self.dead_letter_topic, self.dead_letter_subscription, ""),
        ):
            publisher.create_topic(request={"name": topic}, retry=None, timeout=CREATE_WITHIN_S)
            request = {"name": subscription, "topic": topic, "filter": filter_}
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

    def driver_flags(self) -> dict[str, str]:
        """Return the load driver's flags that name them."""
        return {
            "project": PROJECT,
            "input_topic": self.input_topic,
            "output_subscription": self.output_subscription,
            "dead_letter_subscription": self.dead_letter_subscription,
        }

    def in_options(self, options: RunOptions) -> RunOptions:
        """Return the load driver's options on them."""
        return replace(options, **self.driver_flags())  # type: ignore[arg-type]

    def run_options(self, rate: float, duration: float, input: Records, out: Path) -> RunOptions:
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


def nothing_answers(error: ServiceUnavailable | DeadlineExceeded) -> PubsubError:
    """Return the error of a Pub/Sub that does not answer, which says where it was looked for."""
    host = os.environ.get(VARIABLE)
    if not host:
        return PubsubError(f"Google Cloud's Pub/Sub does not answer ({error.message})")
    return PubsubError(
        f"nothing answers at {VARIABLE}={host}: start a broker there, or unset the variable ({error.message})"
    )
