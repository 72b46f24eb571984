"""The source and the sinks of a job, chosen by its runner."""

from __future__ import annotations

import apache_beam as beam
from apache_beam.io.gcp.pubsub import ReadFromPubSub, WriteToPubSub

from pipeline.io.sink import WriteToTopic
from pipeline.io.source import ReadFromSubscription
from pipeline.options.job_options import JobOptions


def read(job: JobOptions, in_process: bool) -> beam.PTransform:
    """Read PubsubMessages from the input subscription."""
    if in_process:
        return ReadFromSubscription(job.input_subscription)
    return ReadFromPubSub(subscription=job.input_subscription, with_attributes=True)


def write(job: JobOptions, topic: str, in_process: bool) -> beam.PTransform:
    """Write PubsubMessages to a topic."""
    if in_process:
        return WriteToTopic(topic, job.publish_deadline_s)
    return WriteToPubSub(topic, with_attributes=True)
