"""The job's own DoFns: from the wire format to a request, and from an answer to the wire format."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping

import apache_beam as beam
from apache_beam.pvalue import TaggedOutput

from pipeline import metrics
from pipeline.pubsub.protos import Proto, PubsubMessage
from pipeline.request import wire_format
from pipeline.request.errors import DecodeError, EncodeError
from pipeline.request.hooks import Hook
from pipeline.request.input_spec import InputSpec
from pipeline.request.messages import DeadLetter, Request, Result
from pipeline.request.wire_format import WireMessage

_LOGGER = logging.getLogger(__name__)

DEAD_LETTERS = "dead_letters"


class Decode(beam.DoFn):
    """A raw PubsubMessage, or the bytes of one, to Request.

    What is not a request goes to `dead_letters`, ready to be published. A dead letter is dropped: as a
    request it would be refused again, and come back for ever where the dead-letter topic feeds the input.
    """

    def __init__(
        self, spec: InputSpec, hook: Hook | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        self._spec = spec
        self._hook = hook
        self._clock = clock
        self._has_warned = False

    def process(self, element: Proto | bytes) -> tuple[Request | TaggedOutput, ...]:
        """Return the request, or its dead letter; a tuple, as a generator costs 0.2 µs more a message."""
        message = PubsubMessage.FromString(element) if isinstance(element, bytes) else element
        data, attributes = message.data, dict(message.attributes)
        if "error_stage" in attributes and wire_format.is_dead_letter(attributes):
            self._drop(attributes)
            return ()
        now = self._clock()
        published = message.publish_time if message.HasField("publish_time") else None
        try:
            request = wire_format.decode(
                data,
                attributes,
                self._spec,
                received=now,
                published=None if published is None else published.seconds + published.nanos / 1e9,
                message_id=message.message_id,
                hook=self._hook,
            )
        except DecodeError as error:
            return (_dead_letter(DeadLetter.of(error, data, attributes, now)),)
        return (request,)

    def _drop(self, attributes: Mapping[str, str]) -> None:
        metrics.count_dropped_dead_letter()
        if not self._has_warned:
            self._has_warned = True
            _LOGGER.warning(
                "dropped a dead letter that came in as a request (request_id %s, error_stage %s): does the "
                "dead-letter topic feed the input? To try one again, publish its data without its attributes "
                "error_stage and failed_at. Others are counted: dead_letters_dropped",
                attributes.get("request_id"),
                attributes["error_stage"],
            )


class Encode(beam.DoFn):
    """Result to WireMessage; dead letters, and results that cannot be published, to `dead_letters`."""

    def __init__(self, hook: Hook | None = None, clock: Callable[[], float] = time.time) -> None:
        self._hook = hook
        self._clock = clock

    def process(self, element: Result | DeadLetter) -> tuple[WireMessage | TaggedOutput]:
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
        return (message,)


def _dead_letter(letter: DeadLetter) -> TaggedOutput:
    metrics.count_dead_letter(letter.stage)
    return TaggedOutput(DEAD_LETTERS, wire_format.encode_dead_letter(letter))
