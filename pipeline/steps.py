"""The job's own DoFns: wire format to request, and answer to wire format."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import apache_beam as beam
from apache_beam.io.gcp.pubsub import PubsubMessage
from apache_beam.pvalue import TaggedOutput

from pipeline import messages
from pipeline.errors import DecodeError, EncodeError
from pipeline.input_spec import InputSpec
from pipeline.messages import DeadLetter, Request, Result, WireMessage

DEAD_LETTERS = "dead_letters"


class Decode(beam.DoFn):
    """PubsubMessage to Request; what is none goes to the output `dead_letters`, ready to be published."""

    def __init__(self, spec: InputSpec, clock: Callable[[], float] = time.time) -> None:
        self._spec = spec
        self._clock = clock

    def process(self, element: PubsubMessage) -> Iterator[Request | TaggedOutput]:
        attributes = element.attributes or {}
        now = self._clock()
        published = element.publish_time
        try:
            yield messages.decode(
                element.data,
                attributes,
                self._spec,
                received=now,
                published=published.timestamp() if published is not None else None,
                message_id=element.message_id,
            )
        except DecodeError as error:
            yield _dead_letter(DeadLetter.of(error, element.data, attributes, now))


class Encode(beam.DoFn):
    """Result to PubsubMessage; dead letters, and results that cannot be published, to `dead_letters`."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock

    def process(self, element: Result | DeadLetter) -> Iterator[PubsubMessage | TaggedOutput]:
        if isinstance(element, DeadLetter):
            yield _dead_letter(element)
            return
        now = self._clock()
        try:
            yield _pubsub(messages.encode(element, now))
        except EncodeError as error:
            request = element.request
            yield _dead_letter(DeadLetter.of(error, request.data, request.attributes, now))


def _dead_letter(letter: DeadLetter) -> TaggedOutput:
    return TaggedOutput(DEAD_LETTERS, _pubsub(messages.encode_dead_letter(letter)))


def _pubsub(message: WireMessage) -> PubsubMessage:
    return PubsubMessage(message.data, message.attributes)
