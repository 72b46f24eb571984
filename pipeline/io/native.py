"""Dataflow's native Pub/Sub steps, and what stands right around them.

The service replaces the steps that Beam's transforms end in, and takes and gives serialized PubsubMessages.
Beam's own conversions go by proto-plus wrappers, 20 µs a message read and 18 µs written, where raw protocol
buffers take 1 and 2 µs, and each has a step for itself, which costs 1 to 2 µs more. The lineage that Beam's
steps report is reported here.
"""

from __future__ import annotations

from collections.abc import Sequence

import apache_beam as beam
from apache_beam.io.gcp.pubsub import ReadFromPubSub, WriteToPubSub, _PubSubWriteDoFn, parse_subscription
from apache_beam.metrics.metric import Lineage

from pipeline.pubsub.attributes import set_attributes
from pipeline.pubsub.protos import Proto, PubsubMessage
from pipeline.request.wire_format import WireMessage


class ReadSerialized(ReadFromPubSub):
    """Reads a subscription as serialized PubsubMessages: bytes, each with its publish time as timestamp."""

    def __init__(self, subscription: str) -> None:
        super().__init__(subscription=subscription, with_attributes=True)

    def expand_continued(self, pcoll: beam.PCollection[bytes]) -> beam.PCollection[bytes]:
        """Return what the native step reads, as it is."""
        return pcoll


class Parse:
    """A function from a serialized PubsubMessage to a raw one, which also reports what is read."""

    def __init__(self, subscription: str) -> None:
        self._project, self._name = parse_subscription(subscription)
        self._reported = False

    def __call__(self, serialized: bytes) -> Proto:
        """Parse a message. Call it on a bundle thread."""
        if not self._reported:
            self._reported = True
            Lineage.sources().add("pubsub", self._project, self._name, subtype="subscription")
        return PubsubMessage.FromString(serialized)


class WriteMessages(WriteToPubSub):
    """Writes lists of WireMessages to a topic."""

    def __init__(self, topic: str) -> None:
        super().__init__(topic, with_attributes=True)

    def expand(self, pcoll: beam.PCollection[Sequence[WireMessage]]) -> beam.PCollection[None]:
        """Serialize messages, and hand them to the native step."""
        self.pipeline_options = pcoll.pipeline.options
        serialized = pcoll | "Serialize" >> beam.ParDo(_Serialize(self.project, self.topic_name))
        serialized.element_type = bytes
        # The runner knows by the DoFn's class which step to replace.
        return serialized | beam.ParDo(_PubSubWriteDoFn(self))


class _Serialize(beam.DoFn):
    """Pub/Sub's limits are not checked again, as Beam's own step would: `wire_format` keeps them."""

    def __init__(self, project: str, topic: str) -> None:
        self._project = project
        self._topic = topic
        self._reported = False

    def process(self, element: Sequence[WireMessage]) -> list[bytes]:
        if not self._reported:
            self._reported = True
            Lineage.sinks().add("pubsub", self._project, self._topic, subtype="topic")
        return [serialize(message) for message in element]


def serialize(message: WireMessage) -> bytes:
    """Return the PubsubMessage of a wire message, as bytes."""
    raw = PubsubMessage(data=message.data)
    set_attributes(raw, message.attributes)
    serialized: bytes = raw.SerializeToString()
    return serialized
