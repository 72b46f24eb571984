"""Publishing to a topic off Dataflow: one Publish call a bundle, awaited, retried to a deadline."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import apache_beam as beam
from google.api_core import exceptions
from google.api_core.retry import Retry
from google.pubsub_v1 import types
from google.pubsub_v1.services.publisher import PublisherClient

from pipeline.process import registry
from pipeline.process.memory import give_back_freed_memory
from pipeline.pubsub import protos
from pipeline.pubsub.attributes import set_attributes
from pipeline.pubsub.channels import publisher_client
from pipeline.pubsub.codes import is_transient
from pipeline.pubsub.limits import MAX_PUBLISH_BYTES, MAX_PUBLISH_MESSAGES
from pipeline.pubsub.protos import Proto
from pipeline.request.errors import TransientError
from pipeline.request.wire_format import WireMessage

# Of a bundle. A message is copied several times on its way: after 14 messages of 9 MB the heap kept 120 MiB,
# and 80 where it gave back after each.
LARGE_BYTES = 1_000_000
# For the messages of one Publish call. The topic's name, tags and lengths need some of Pub/Sub's limit.
MAX_CALL_BYTES = MAX_PUBLISH_BYTES - 100_000
# One attempt. Shorter than the deadline, so that a hanging connection is tried anew.
ATTEMPT_S = 10.0


class Publisher:
    """One process's connection for publishing; shared by all sinks."""

    def __init__(self) -> None:
        self._client = publisher_client()

    def publish(self, topic: str, messages: list[WireMessage], deadline_s: float) -> None:
        """Publish all messages in order, in as few calls as Pub/Sub's limits allow.

        Raises:
            TransientError: A call still failed after `deadline_s` seconds of retries.
            GoogleAPICallError: It failed for a reason that a retry does not cure.
        """
        for call in _calls(topic, messages):
            self._call(call, deadline_s)

    def close(self) -> None:
        """Disconnect."""
        self._client.stop()

    def _call(self, request: Proto, deadline_s: float) -> None:
        retry = Retry(
            predicate=is_transient,
            initial=0.05,
            maximum=2.0,
            multiplier=2.0,
            timeout=deadline_s,
        )
        try:
            # The client's own publish() batches in the background; the generated one underneath is one call.
            PublisherClient.publish(
                self._client,
                request=types.PublishRequest.wrap(request),
                retry=retry,
                timeout=min(ATTEMPT_S, deadline_s),
            )
        except exceptions.RetryError as error:
            raise TransientError(
                f"publishing to {request.topic} failed for {deadline_s:g} s: {error.cause}"
            ) from error
        except (exceptions.NotFound, exceptions.PermissionDenied) as error:
            missing = isinstance(error, exceptions.NotFound)
            fix = (
                "create it, or check --output_topic and --dead_letter_topic"
                if missing
                else "grant roles/pubsub.publisher"
            )
            raise type(error)(f"cannot publish to {request.topic}: {error.message}; {fix}") from error


def _calls(topic: str, messages: list[WireMessage]) -> Iterator[Proto]:
    """Yield the PublishRequests that the messages take, in order."""
    request, size = protos.PublishRequest(topic=topic), 0
    for message in messages:
        bytes_ = _add(request, message)
        count = len(request.messages)
        if count > 1 and (count > MAX_PUBLISH_MESSAGES or size + bytes_ > MAX_CALL_BYTES):
            del request.messages[-1]
            yield request
            request, size = protos.PublishRequest(topic=topic), 0
            _add(request, message)
        size += bytes_
    if request.messages:
        yield request


def _add(request: Proto, message: WireMessage) -> int:
    """Put a message into a request, in place, and return its bytes on the wire."""
    wire = request.messages.add()
    wire.data = message.data
    set_attributes(wire, message.attributes)
    size: int = wire.ByteSize()
    return size


class _Publish(beam.DoFn):
    def __init__(self, topic: str, deadline_s: float) -> None:
        self._topic = topic
        self._deadline_s = deadline_s
        self._messages: list[WireMessage] = []
        self._bytes = 0

    def start_bundle(self) -> None:
        self._messages, self._bytes = [], 0

    def process(self, element: Sequence[WireMessage]) -> None:
        self._messages += element
        self._bytes += sum(len(message.data) for message in element)
        # No more than one call's worth is kept. The acknowledgement still waits for the end of the bundle.
        if self._bytes > MAX_CALL_BYTES:
            self._flush()

    def finish_bundle(self) -> None:
        if self._messages:
            self._flush()

    def _flush(self) -> None:
        publisher = registry.shared("publisher", Publisher)
        publisher.publish(self._topic, self._messages, self._deadline_s)
        was_large = self._bytes > LARGE_BYTES
        self._messages, self._bytes = [], 0
        if was_large:
            give_back_freed_memory()


class WriteToTopic(beam.PTransform):
    """Publishes lists of WireMessages; a bundle fails if one is not accepted within `deadline_s` seconds."""

    def __init__(self, topic: str, deadline_s: float) -> None:
        super().__init__()
        self._topic = topic
        self._deadline_s = deadline_s

    def expand(self, messages: beam.PCollection[Sequence[WireMessage]]) -> beam.PCollection[None]:
        """Publish the messages; nothing comes out."""
        return messages | "Publish" >> beam.ParDo(_Publish(self._topic, self._deadline_s))
