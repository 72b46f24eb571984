"""The source and the sinks of a job, chosen by its runner."""

from __future__ import annotations

import apache_beam as beam

from pipeline.io.native import ReadSerialized, WriteWireMessages
from pipeline.io.sink import WriteToTopic
from pipeline.io.source import ReadFromSubscription
from pipeline.options.job_options import JobOptions


def read(job: JobOptions, in_process: bool) -> beam.PTransform:
    """Read the input subscription: raw PubsubMessages, or on Dataflow their serialized bytes."""
    if in_process:
        return ReadFromSubscription(job.input_subscription)
    return ReadSerialized(job.input_subscription)


def write(job: JobOptions, topic: str, in_process: bool) -> beam.PTransform:
    """Write WireMessages to a topic."""
    if in_process:
        return WriteToTopic(topic, job.publish_deadline_s)
    return WriteWireMessages(topic)
