"""The source and the sinks of a job, chosen by its runner."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import apache_beam as beam

from pipeline.io.native import Parse, ReadSerialized, WriteMessages
from pipeline.io.sink import WriteToTopic
from pipeline.io.source import ReadFromSubscription
from pipeline.options.job_options import JobOptions
from pipeline.pubsub.protos import Proto


def read(job: JobOptions, in_process: bool) -> beam.PTransform:
    """Read the input subscription. `parser` makes raw PubsubMessages of the elements."""
    if in_process:
        return ReadFromSubscription(job.input_subscription)
    return ReadSerialized(job.input_subscription)


def parser(job: JobOptions, in_process: bool) -> Callable[[Any], Proto]:
    """Return the function that makes a raw PubsubMessage of an element that `read` reads."""
    return as_it_is if in_process else Parse(job.input_subscription)


def as_it_is(message: Proto) -> Proto:
    """Return a raw PubsubMessage, which `ReadFromSubscription` reads."""
    return message


def write(job: JobOptions, topic: str, in_process: bool) -> beam.PTransform:
    """Write lists of WireMessages to a topic."""
    if in_process:
        return WriteToTopic(topic, job.publish_deadline_s)
    return WriteMessages(topic)
