"""One call of the reading DoFn, on a real broker."""

from collections.abc import Callable
from typing import Any

from apache_beam.io.watermark_estimators import ManualWatermarkEstimator
from google.pubsub_v1.services.publisher import PublisherClient

from pipeline.io.source import _Endless, _Pull
from pipeline.process import registry
from pipeline.process.stop import stop_signal
from pipeline.pubsub.channels import publisher_client
from tests.pipeline.conftest import Pubsub
from tests.waiting import wait_until


class Tracker(_Endless):
    """Beam hands the DoFn a view of the tracker that can also defer what is left."""

    def __init__(self) -> None:
        super().__init__(True)
        self.deferred = False

    def defer_remainder(self) -> None:
        self.deferred = True


class Finalizer:
    def __init__(self) -> None:
        self.callbacks: list[Callable[[], None]] = []

    def register(self, callback: Callable[[], None]) -> None:
        self.callbacks.append(callback)


def send(pubsub: Pubsub, *bodies: bytes) -> None:
    messages = [{"data": body, "attributes": {"n": body.decode()}} for body in bodies]
    PublisherClient.publish(
        publisher_client(), request={"topic": pubsub.topics.input_topic, "messages": messages}
    )


def bundle(pubsub: Pubsub, watermark: ManualWatermarkEstimator) -> tuple[list[Any], Finalizer, Tracker]:
    """Return what a bundle reads, once there is something, before it is finalised."""
    finalizer, tracker = Finalizer(), Tracker()
    pull = _Pull(pubsub.topics.input_subscription)
    read: list[Any] = []
    wait_until(
        lambda: read.extend(pull.process(b"", finalizer, tracker, watermark)) or read,  # type: ignore[func-returns-value]
        20,
    )
    return read, finalizer, tracker


def test_a_bundle_is_acknowledged_by_its_finaliser_only(pubsub: Pubsub) -> None:
    send(pubsub, b"a", b"b")
    read, finalizer, tracker = bundle(pubsub, ManualWatermarkEstimator(None))
    assert [(e.value.data, e.value.attributes) for e in read] == [(b"a", {"n": "a"}), (b"b", {"n": "b"})]
    assert all(e.value.message_id and e.value.HasField("publish_time") for e in read)
    assert tracker.deferred
    stats = pubsub.broker.stats(pubsub.topics.input_subscription)
    assert (stats.outstanding, stats.acknowledged) == (2, 0)

    for callback in finalizer.callbacks:
        callback()
    wait_until(lambda: pubsub.broker.stats(pubsub.topics.input_subscription).acknowledged == 2)


def test_the_watermark_stays_behind_what_is_unacknowledged(pubsub: Pubsub) -> None:
    watermark = ManualWatermarkEstimator(None)
    send(pubsub, b"a")
    first, finalizer, _ = bundle(pubsub, watermark)
    assert watermark.current_watermark() == first[0].timestamp

    send(pubsub, b"b")
    second, _, _ = bundle(pubsub, watermark)
    assert second[0].timestamp > first[0].timestamp
    assert watermark.current_watermark() == first[0].timestamp

    for callback in finalizer.callbacks:
        callback()
    send(pubsub, b"c")
    bundle(pubsub, watermark)
    assert watermark.current_watermark() == second[0].timestamp


def test_a_stop_ends_the_source(pubsub: Pubsub) -> None:
    send(pubsub, b"a")
    stop_signal().request("the test")
    finalizer, tracker = Finalizer(), Tracker()
    pull = _Pull(pubsub.topics.input_subscription)
    assert list(pull.process(b"", finalizer, tracker, ManualWatermarkEstimator(None))) == []
    assert not tracker.deferred
    assert finalizer.callbacks == []
    registry.close_all()
    stats = pubsub.broker.stats(pubsub.topics.input_subscription)
    assert (stats.backlog, stats.outstanding) == (1, 0)
