"""StreamingPull as an application sees it, through the client library's subscriber."""

from queue import SimpleQueue

from google.cloud.pubsub_v1 import SubscriberClient
from google.cloud.pubsub_v1.subscriber.message import Message
from google.cloud.pubsub_v1.types import FlowControl

from broker import EmbeddedBroker
from tests.broker.test_streaming_pull import Publish
from tests.waiting import LIMIT_S, wait_until


def test_the_clients_subscriber_receives_everything_once(
    subscription: str, subscriber: SubscriberClient, publish: Publish, broker: EmbeddedBroker
) -> None:
    received: SimpleQueue[str] = SimpleQueue()

    def callback(message: Message) -> None:
        received.put(message.message_id)
        message.ack()

    streaming = subscriber.subscribe(subscription, callback, flow_control=FlowControl(max_messages=20))
    published = [message_id for _ in range(20) for message_id in publish(*[b"x"] * 10)]
    assert sorted(received.get(timeout=LIMIT_S) for _ in published) == sorted(published)
    wait_until(lambda: broker.stats(subscription).acknowledged == len(published))
    streaming.cancel()
    streaming.result(timeout=LIMIT_S)
    assert broker.stats(subscription).outstanding == broker.stats(subscription).backlog == 0
    assert received.empty()


def test_the_clients_subscriber_nacks(
    subscription: str, subscriber: SubscriberClient, publish: Publish, broker: EmbeddedBroker
) -> None:
    received: SimpleQueue[str] = SimpleQueue()

    def callback(message: Message) -> None:
        seen_before = not received.empty()
        received.put(message.message_id)
        if seen_before:
            message.ack()
        else:
            message.nack()

    publish(b"a")
    streaming = subscriber.subscribe(subscription, callback)
    wait_until(lambda: broker.stats(subscription).acknowledged == 1)
    streaming.cancel()
    streaming.result(timeout=LIMIT_S)
    assert received.get() == received.get()
