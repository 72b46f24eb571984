"""The source and the sinks of a job, chosen by its runner, and what its steps make of their elements."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import apache_beam as beam

from pipeline.io.native import Parse, ReadSerialized, Serialize, WriteSerialized
from pipeline.io.sink import WriteToTopic
from pipeline.io.source import ReadFromSubscription
from pipeline.options.job_options import JobOptions
from pipeline.pubsub.protos import Proto
from pipeline.request.wire_format import WireMessage

Parser: TypeAlias = Callable[[Any], Proto]
"""Makes a raw PubsubMessage of an element that is read."""

Packer: TypeAlias = Callable[[Sequence[WireMessage]], Sequence[Any]]
"""Makes elements that are written of messages."""


def read(job: JobOptions, in_process: bool) -> beam.PTransform:
    """Read the input subscription."""
    if in_process:
        return ReadFromSubscription(job.input_subscription)
    return ReadSerialized(job.input_subscription)


def parser(job: JobOptions, in_process: bool) -> Parser:
    """Return the parser of what `read` reads."""
    return as_it_is if in_process else Parse(job.input_subscription)


def packer(topic: str, in_process: bool) -> Packer:
    """Return the packer for what `write` writes to a topic."""
    return as_one_list if in_process else Serialize(topic)


def write(job: JobOptions, topic: str, in_process: bool) -> beam.PTransform:
    """Write to a topic."""
    if in_process:
        return WriteToTopic(topic, job.publish_deadline_s)
    return WriteSerialized(topic)


def as_it_is(message: Proto) -> Proto:
    """Return a raw PubsubMessage, as `ReadFromSubscription` reads it."""
    return message


def as_one_list(messages: Sequence[WireMessage]) -> tuple[Sequence[WireMessage]]:
    """Return one element, as `WriteToTopic` takes it."""
    return (messages,)
