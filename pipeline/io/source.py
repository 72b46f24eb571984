"""Reading a subscription off Dataflow: a splittable DoFn over a streaming pull.

Beam's own read on its local runners takes ten messages at a time and acknowledges them before they are
processed. Here a bundle is what has arrived, and its finaliser acknowledges it: after the sinks, which are
fused behind this read, have published what became of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import apache_beam as beam
from apache_beam.io.iobase import RestrictionProgress, RestrictionTracker
from apache_beam.io.watermark_estimators import ManualWatermarkEstimator
from apache_beam.transforms.core import RestrictionProvider
from apache_beam.transforms.window import TimestampedValue
from apache_beam.utils.timestamp import MIN_TIMESTAMP, Timestamp

from pipeline.io.subscriber import Subscriber
from pipeline.process import registry
from pipeline.process.stop import stop_signal
from pipeline.pubsub.protos import Proto, PubsubMessage

# Large enough that a bundle's fixed cost (about 2 ms) is spread thin, small enough to keep latency low.
MAX_BUNDLE_MESSAGES = 500
# An idle bundle ends after so many seconds, so that the watermark moves on.
IDLE_WAIT_S = 0.5


class _Endless(RestrictionTracker):
    """The restriction of a stream without positions: all of it is left until the reader is done."""

    def __init__(self, open_: bool = True) -> None:
        self._open = open_

    def current_restriction(self) -> bool:
        return self._open

    def try_claim(self, position: None) -> bool:
        return self._open

    def try_split(self, fraction_of_remainder: float) -> tuple[bool, bool] | None:
        if not self._open:
            return None
        self._open = False
        return False, True

    def check_done(self) -> bool:
        return True

    def is_bounded(self) -> bool:
        return False

    def current_progress(self) -> RestrictionProgress:
        return RestrictionProgress(fraction=0.0)


class _OneStream(RestrictionProvider):
    def initial_restriction(self, element: bytes) -> bool:
        return True

    def create_tracker(self, restriction: bool) -> _Endless:
        return _Endless(restriction)

    def restriction_size(self, element: bytes, restriction: bool) -> float:
        return 1.0

    def truncate(self, element: bytes, restriction: bool) -> None:
        """Nothing is left to read when the job drains: what was not read stays in the subscription."""
        return


class _Pull(beam.DoFn):
    def __init__(self, subscription: str) -> None:
        self._subscription = subscription

    # The finaliser comes first: Beam binds the splittable parameters by position after it.
    @beam.DoFn.unbounded_per_element()
    def process(
        self,
        element: bytes,
        finalizer: Any = beam.DoFn.BundleFinalizerParam,
        tracker: Any = beam.DoFn.RestrictionParam(_OneStream()),
        watermark: Any = beam.DoFn.WatermarkEstimatorParam(ManualWatermarkEstimator.default_provider()),
    ) -> Iterator[TimestampedValue]:
        stop = stop_signal()
        # Made here and not in setup(): Beam also sets up copies that never read, whose streams would
        # swallow messages.
        subscriber = registry.shared(
            ("subscriber", self._subscription),
            lambda: Subscriber(self._subscription, stopping=lambda: stop.requested),
        )
        tracker.try_claim(None)
        messages = subscriber.take(MAX_BUNDLE_MESSAGES, IDLE_WAIT_S)
        if messages:
            # Not the messages: a large one would be held to the end of its bundle.
            finalizer.register(partial(subscriber.acknowledge, [received.ack_id for received in messages]))
        messages.reverse()
        while messages:
            message = messages.pop().message
            yield TimestampedValue(message, Timestamp(micros=message.publish_time.ToMicroseconds()))
        if stop.requested:
            return
        reached = subscriber.watermark()
        if reached is not None:
            before = watermark.current_watermark() or MIN_TIMESTAMP
            watermark.set_watermark(max(before, Timestamp(micros=reached)))
        tracker.defer_remainder()


class ReadFromSubscription(beam.PTransform):
    """Raw PubsubMessages of a subscription, in GlobalWindow, with their publish time as timestamp.

    For Beam's in-process engine, in one stage with the sinks; ends when the process's stop signal is given.
    """

    def __init__(self, subscription: str) -> None:
        super().__init__()
        self._subscription = subscription

    def expand(self, pbegin: beam.pvalue.PBegin) -> beam.PCollection[Proto]:
        """Read the messages."""
        pull = beam.ParDo(_Pull(self._subscription)).with_output_types(PubsubMessage)
        return pbegin | beam.Impulse() | "Pull" >> pull
