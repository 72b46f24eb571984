"""The job's own DoFns: from the wire format to a request, and from an answer to the wire format."""

from __future__ import annotations

import time
from collections.abc import Callable

import apache_beam as beam
from apache_beam.io.gcp.pubsub import PubsubMessage
from apache_beam.pvalue import TaggedOutput

from pipeline import metrics
from pipeline.request import wire_format
from pipeline.request.errors import DecodeError, EncodeError
from pipeline.request.hooks import Hook
from pipeline.request.input_spec import InputSpec
from pipeline.request.messages import DeadLetter, Request, Result
from pipeline.request.wire_format import WireMessage

DEAD_LETTERS = "dead_letters"


class Decode(beam.DoFn):
    """PubsubMessage to Request. What is not a request goes to `dead_letters`, ready to be published."""

    def __init__(
        self, spec: InputSpec, hook: Hook | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        self._spec = spec
        self._hook = hook
        self._clock = clock

    def process(self, element: PubsubMessage) -> tuple[Request | TaggedOutput]:
        """Return the request, or the dead letter; a tuple, as a generator costs 0.2 µs more a message."""
        attributes = element.attributes or {}
        now = self._clock()
        published = element.publish_time
        try:
            request = wire_format.decode(
                element.data,
                attributes,
                self._spec,
                received=now,
                published=published.timestamp() if published is not None else None,
                message_id=element.message_id,
                hook=self._hook,
            )
        except DecodeError as error:
            return (_dead_letter(DeadLetter.of(error, element.data, attributes, now)),)
        return (request,)


class Encode(beam.DoFn):
    """Result to PubsubMessage; dead letters, and results that cannot be published, to `dead_letters`."""

    def __init__(self, hook: Hook | None = None, clock: Callable[[], float] = time.time) -> None:
        self._hook = hook
        self._clock = clock

    def process(self, element: Result | DeadLetter) -> tuple[PubsubMessage | TaggedOutput]:
        """Return the message of a result, or that of a dead letter."""
        if isinstance(element, DeadLetter):
            return (_dead_letter(element),)
        now = self._clock()
        try:
            message = wire_format.encode(element, now, self._hook)
        except EncodeError as error:
            request = element.request
            return (_dead_letter(DeadLetter.of(error, request.data, request.attributes, now)),)
        metrics.count_result(element, now)
        return (_pubsub(message),)


def _dead_letter(letter: DeadLetter) -> TaggedOutput:
    metrics.count_dead_letter(letter.stage)
    return TaggedOutput(DEAD_LETTERS, _pubsub(wire_format.encode_dead_letter(letter)))


def _pubsub(message: WireMessage) -> PubsubMessage:
    return PubsubMessage(message.data, message.attributes)
