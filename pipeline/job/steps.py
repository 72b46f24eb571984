"""The job's own DoFns: from messages to batches of requests, and from their answers to messages.

Between steps batches move: Beam takes 1 to 2 µs to move an element from one step to the next.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import TaggedOutput
from apache_beam.transforms.window import GlobalWindow, GlobalWindows
from apache_beam.utils.windowed_value import WindowedValue

from pipeline import metrics
from pipeline.io.connectors import Packer, Parser
from pipeline.pubsub.attributes import attributes_of
from pipeline.request import wire_format
from pipeline.request.errors import DecodeError, EncodeError
from pipeline.request.hooks import Hook
from pipeline.request.input_spec import InputSpec
from pipeline.request.messages import DeadLetter, Request, Result
from pipeline.request.wire_format import WireMessage

_LOGGER = logging.getLogger(__name__)

DEAD_LETTERS = "dead_letters"

# Of the bodies of a batch, about: it may have fewer requests than --max_batch_size, but not many times the
# memory of one message.
BATCH_BYTES = 16_000_000
# Of messages that are made before they are sent on, about: so much of a batch is there as answers, too.
PACK_BYTES = 1_000_000

# Where Beam's own BatchElements puts a batch, whose elements have a timestamp each.
_END = GlobalWindow().max_timestamp()


class Decode(beam.DoFn):
    """Messages to batches: requests, and dead letters of what is not a request.

    A batch is what the bundle has, up to `max_batch_size`. A dead letter that comes in is dropped: as a
    request it would be refused again, and come back for ever where the dead-letter topic feeds the input.
    """

    def __init__(
        self,
        parse: Parser,
        spec: InputSpec,
        max_batch_size: int,
        hook: Hook | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._parse = parse
        self._spec = spec
        self._max_batch_size = max_batch_size
        self._hook = hook
        self._clock = clock
        self._has_warned = False
        self._batch: list[Request | DeadLetter] = []
        self._bytes = 0

    def start_bundle(self) -> None:
        """Begin without requests: those of a bundle that failed come again."""
        self._batch, self._bytes = [], 0

    def process(self, element: Any) -> tuple[WindowedValue, ...]:
        """Return a batch that is full; a tuple, as a generator costs 0.2 µs more a message."""
        message = self._parse(element)
        data, attributes = message.data, attributes_of(message)
        if "error_stage" in attributes and wire_format.is_dead_letter(attributes):
            self._drop(attributes)
            return ()
        now = self._clock()
        published = message.publish_time
        try:
            decoded: Request | DeadLetter = wire_format.decode(
                data,
                attributes,
                self._spec,
                received=now,
                # A message without one has 0 in both.
                published=published.seconds + published.nanos / 1e9 or None,
                message_id=message.message_id or None,
                hook=self._hook,
            )
        except DecodeError as error:
            decoded = DeadLetter.of(error, data, attributes, now)
        self._batch.append(decoded)
        self._bytes += len(data)
        if len(self._batch) < self._max_batch_size and self._bytes < BATCH_BYTES:
            return ()
        return (self._take(),)

    def finish_bundle(self) -> Iterator[WindowedValue]:
        """Return the last batch."""
        if self._batch:
            yield self._take()

    def _take(self) -> WindowedValue:
        batch = self._batch
        self._batch, self._bytes = [], 0
        return GlobalWindows.windowed_value(batch, _END)

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
    """Outcomes of a batch to messages; dead letters, and what cannot be published, to `dead_letters`."""

    def __init__(
        self,
        pack_results: Packer,
        pack_dead_letters: Packer,
        hook: Hook | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._pack_results = pack_results
        self._pack_dead_letters = pack_dead_letters
        self._hook = hook
        self._clock = clock

    def process(self, element: Sequence[Result | DeadLetter]) -> Iterator[Any]:
        """Yield what the sinks take."""
        messages: list[WireMessage] = []
        size = 0
        for outcome in element:
            if isinstance(outcome, DeadLetter):
                yield from self._dead_letter(outcome)
                continue
            now = self._clock()
            try:
                message = wire_format.encode(outcome, now, self._hook)
            except EncodeError as error:
                request = outcome.request
                yield from self._dead_letter(DeadLetter.of(error, request.data, request.attributes, now))
                continue
            metrics.count_result(outcome, now)
            messages.append(message)
            size += len(message.data)
            if size > PACK_BYTES:
                yield from self._pack_results(messages)
                messages, size = [], 0
        if messages:
            yield from self._pack_results(messages)

    def _dead_letter(self, letter: DeadLetter) -> Iterator[TaggedOutput]:
        metrics.count_dead_letter(letter.stage)
        for packed in self._pack_dead_letters([wire_format.encode_dead_letter(letter)]):
            yield TaggedOutput(DEAD_LETTERS, packed)
