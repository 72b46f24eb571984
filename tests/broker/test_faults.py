"""Each fault, as a client sees it."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue

import grpc
import pytest
from google.api_core import exceptions
from google.cloud.pubsub_v1 import SubscriberClient
from google.cloud.pubsub_v1.subscriber.message import Message
from google.pubsub_v1 import PublisherClient

from broker import EmbeddedBroker
from tests.waiting import LIMIT_S, TIME_SCALE, wait_until

Publish = Callable[..., list[str]]


def test_a_method_fails_as_often_as_asked(
    broker: EmbeddedBroker, topic: str, subscription: str, publisher: PublisherClient
) -> None:
    broker.faults.fail("Publish", grpc.StatusCode.UNAVAILABLE, times=2, message="out for lunch")
    for _ in range(2):
        with pytest.raises(exceptions.ServiceUnavailable, match="out for lunch"):
            publisher.publish(topic=topic, messages=[{"data": b"x"}], retry=None)
    assert broker.stats(subscription).backlog == 0
    publisher.publish(topic=topic, messages=[{"data": b"x"}], retry=None)
    assert broker.stats(subscription).backlog == 1


def test_the_client_retries_over_a_failure(
    broker: EmbeddedBroker, subscription: str, publish: Publish
) -> None:
    broker.faults.fail("Publish", grpc.StatusCode.UNAVAILABLE, times=2)
    publish(b"x")
    assert broker.stats(subscription).backlog == 1


def test_an_applied_failure_loses_only_the_answer(
    broker: EmbeddedBroker, subscription: str, publish: Publish
) -> None:
    broker.faults.fail("Publish", grpc.StatusCode.UNAVAILABLE, applied=True)
    publish(b"x")
    assert broker.stats(subscription).backlog == 2


def test_other_methods_are_not_touched(
    broker: EmbeddedBroker, topic: str, publisher: PublisherClient
) -> None:
    broker.faults.fail("Publish", grpc.StatusCode.INTERNAL)
    assert publisher.get_topic(topic=topic).name == topic


def test_a_delay_holds_one_call_and_no_other(
    broker: EmbeddedBroker, subscription: str, subscriber: SubscriberClient, publish: Publish
) -> None:
    publish(b"a", b"b")
    received = subscriber.pull(subscription=subscription, max_messages=2).received_messages
    broker.faults.delay("Acknowledge", 2 * TIME_SCALE)
    with ThreadPoolExecutor() as pool:
        held = pool.submit(subscriber.acknowledge, subscription=subscription, ack_ids=[received[0].ack_id])
        wait_until(lambda: not broker.faults.pending("Acknowledge"))
        subscriber.acknowledge(subscription=subscription, ack_ids=[received[1].ack_id])
        assert not held.done()
        assert broker.stats(subscription).acknowledged == 1
        held.result(timeout=LIMIT_S)
    assert broker.stats(subscription).acknowledged == 2


def test_a_client_may_give_up_during_a_delay(
    broker: EmbeddedBroker, topic: str, subscription: str, publisher: PublisherClient
) -> None:
    broker.faults.delay("Publish", 60)
    with pytest.raises(exceptions.DeadlineExceeded):
        publisher.publish(topic=topic, messages=[{"data": b"x"}], timeout=0.1, retry=None)
    assert broker.stats(subscription).backlog == 0


def test_a_dropped_stream_is_reopened_by_the_client_and_nothing_is_lost(
    broker: EmbeddedBroker, subscription: str, subscriber: SubscriberClient, publish: Publish
) -> None:
    received: SimpleQueue[str] = SimpleQueue()

    def callback(message: Message) -> None:
        received.put(message.message_id)
        message.ack()

    streaming = subscriber.subscribe(subscription, callback)
    wait_until(lambda: broker.stats(subscription).streams == 1)
    published = publish(b"before")
    assert received.get(timeout=LIMIT_S) == published[0]
    assert broker.faults.drop_streams() == 1
    published = publish(b"after")
    assert received.get(timeout=LIMIT_S) == published[0]
    streaming.cancel()
    streaming.result(timeout=LIMIT_S)


def test_a_stream_fails_to_open(
    broker: EmbeddedBroker, subscription: str, subscriber: SubscriberClient
) -> None:
    broker.faults.fail("StreamingPull", grpc.StatusCode.PERMISSION_DENIED, message="no entry")
    streaming = subscriber.subscribe(subscription, lambda message: message.ack())
    with pytest.raises(exceptions.PermissionDenied, match="no entry"):
        streaming.result(timeout=LIMIT_S)


def test_a_stream_is_slow_to_open(
    broker: EmbeddedBroker, subscription: str, subscriber: SubscriberClient, publish: Publish
) -> None:
    broker.faults.delay("StreamingPull", TIME_SCALE)
    publish(b"a")
    received = threading.Event()

    def callback(message: Message) -> None:
        message.ack()
        received.set()

    streaming = subscriber.subscribe(subscription, callback)
    wait_until(lambda: not broker.faults.pending("StreamingPull"))
    assert broker.stats(subscription).streams == 0
    assert received.wait(timeout=LIMIT_S)
    streaming.cancel()
    streaming.result(timeout=LIMIT_S)


def test_duplicates_share_their_message_id_and_have_their_own_ack_ids(
    broker: EmbeddedBroker, subscription: str, subscriber: SubscriberClient, publish: Publish
) -> None:
    one, two, three = publish(b"a", b"b", b"c")
    broker.faults.duplicate(times=2)
    received = subscriber.pull(subscription=subscription, max_messages=10).received_messages
    assert sorted(each.message.message_id for each in received) == [one, one, two, two, three]
    assert len({each.ack_id for each in received}) == 5
    subscriber.acknowledge(subscription=subscription, ack_ids=[each.ack_id for each in received])
    assert broker.stats(subscription).acknowledged == 5


def test_faults_can_be_taken_back(broker: EmbeddedBroker, topic: str, publisher: PublisherClient) -> None:
    broker.faults.fail("Publish", grpc.StatusCode.INTERNAL, times=5)
    broker.faults.delay("Publish", 60)
    broker.faults.duplicate()
    broker.faults.clear()
    publisher.publish(topic=topic, messages=[{"data": b"x"}], timeout=LIMIT_S, retry=None)
    assert not broker.faults.take_duplicate()


def test_faults_that_make_no_sense_are_refused(broker: EmbeddedBroker) -> None:
    with pytest.raises(ValueError, match="no method 'Publsh'; the broker has Acknowledge"):
        broker.faults.fail("Publsh", grpc.StatusCode.INTERNAL)
    with pytest.raises(ValueError, match="times must be at least 1"):
        broker.faults.fail("Publish", grpc.StatusCode.INTERNAL, times=0)
    with pytest.raises(ValueError, match="OK is none"):
        broker.faults.fail("Publish", grpc.StatusCode.OK)
    with pytest.raises(ValueError, match="use drop_streams"):
        broker.faults.fail("StreamingPull", grpc.StatusCode.INTERNAL, applied=True)
    with pytest.raises(ValueError, match="seconds must not be negative"):
        broker.faults.delay("Publish", -1)
    with pytest.raises(ValueError, match="times must be at least 1"):
        broker.faults.duplicate(times=0)
