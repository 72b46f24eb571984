"""Requests sent one by one to a job, and the answer of each, by subscriptions that last no longer."""

from __future__ import annotations

import queue
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass

import grpc
from google.api_core.exceptions import DeadlineExceeded, GoogleAPICallError, ServiceUnavailable
from google.cloud.pubsub_v1 import SubscriberClient

from loadtest.driver.pubsub import PubsubError, connect, request_message
from local.topics import nothing_answers
from pipeline.pubsub.calls import routing
from pipeline.pubsub.channels import subscriber_client
from pipeline.pubsub.codes import explain
from pipeline.pubsub.protos import PublishRequest

CALL_WITHIN_S = 10.0
PULL_S = 2.0


@dataclass(frozen=True)
class Answer:
    """What came back for one request.

    Attributes:
        number: Of the request, from 0.
        is_result: Whether it is a result; else a dead letter.
        data: The message's body.
        attributes: The message's.
    """

    number: int
    is_result: bool
    data: bytes
    attributes: Mapping[str, str]


class Exchange:
    """The conversation with one job.

    Args:
        input_topic: That the job reads, full name.
        output_subscription: Of the results, read by nobody else.
        dead_letter_subscription: Of the dead letters, read by nobody else.
    """

    def __init__(self, input_topic: str, output_subscription: str, dead_letter_subscription: str) -> None:
        self._input_topic = input_topic
        self._subscriptions = {output_subscription: True, dead_letter_subscription: False}

    def send(
        self, bodies: Sequence[bytes], timeout_s: float, still_waiting: Callable[[], None]
    ) -> Iterator[Answer]:
        """Send requests, and yield the first answer of each as it comes, until all are there or time is up.

        Args:
            bodies: As they are to be sent.
            timeout_s: Seconds to wait for the answers, from when all are sent.
            still_waiting: Called about four times a second; may raise.

        Raises:
            PubsubError, GoogleAPICallError: Pub/Sub refuses the topic or a subscription.
        """
        prefix = f"send-{secrets.token_hex(4)}-"
        self._publish(bodies, prefix)
        arrived: queue.SimpleQueue[Answer | Exception] = queue.SimpleQueue()
        done = threading.Event()
        clients, readers = [], []
        for name, is_result in self._subscriptions.items():
            client = subscriber_client()
            arguments = (client, name, is_result, prefix, arrived, done)
            clients.append(client)
            readers.append(threading.Thread(target=_read, args=arguments, daemon=True))
            readers[-1].start()
        missing = set(range(len(bodies)))
        deadline = time.monotonic() + timeout_s
        try:
            while missing and time.monotonic() < deadline:
                still_waiting()
                try:
                    answer = arrived.get(timeout=0.25)
                except queue.Empty:
                    continue
                if isinstance(answer, Exception):
                    raise answer
                if answer.number in missing:
                    missing.remove(answer.number)
                    yield answer
        finally:
            done.set()
            for client in clients:
                client.close()  # which ends the pull that waits for nothing more
            for reader in readers:
                reader.join()

    def _publish(self, bodies: Sequence[bytes], prefix: str) -> None:
        routed = routing("topic", self._input_topic)
        with closing(connect()) as calls:
            for number, body in enumerate(bodies):
                now = time.time()
                message = request_message(body, f"{prefix}{number}", now, now)
                request = PublishRequest(topic=self._input_topic, messages=[message])
                try:
                    calls.publish(request, timeout=CALL_WITHIN_S, metadata=routed)
                except grpc.RpcError as error:
                    raise PubsubError(f"cannot publish to {self._input_topic}: {explain(error)}") from error


def _read(
    subscriber: SubscriberClient,
    subscription: str,
    is_result: bool,
    prefix: str,
    arrived: queue.SimpleQueue[Answer | Exception],
    done: threading.Event,
) -> None:
    while not done.is_set():
        try:
            pulled = subscriber.pull(
                subscription=subscription, max_messages=100, retry=None, timeout=PULL_S
            ).received_messages
            if pulled:
                ids = [each.ack_id for each in pulled]
                subscriber.acknowledge(subscription=subscription, ack_ids=ids, timeout=CALL_WITHIN_S)
        except (DeadlineExceeded, ServiceUnavailable):
            done.wait(0.1)
            continue
        except (GoogleAPICallError, ValueError) as error:  # gRPC's of a closed channel is a ValueError
            if not done.is_set():
                arrived.put(error)
            return
        for each in pulled:
            attributes = dict(each.message.attributes)
            request_id = attributes.get("request_id", "")
            if request_id.startswith(prefix):
                number = int(request_id.removeprefix(prefix))
                arrived.put(Answer(number, is_result, each.message.data, attributes))


@contextmanager
def own_subscriptions(topics: Sequence[str]) -> Iterator[list[str]]:
    """Make a subscription of each topic, and delete them at the end. Nobody else's messages are taken.

    Args:
        topics: Full names.

    Raises:
        GoogleAPICallError: One cannot be made.
        PubsubError: Nothing answers there.
    """
    made: list[str] = []
    with subscriber_client() as subscriber:
        try:
            for topic in topics:
                project = topic.split("/")[1]
                name = f"projects/{project}/subscriptions/send-{secrets.token_hex(8)}"
                request = {"name": name, "topic": topic}
                try:
                    subscriber.create_subscription(request=request, retry=None, timeout=CALL_WITHIN_S)
                except (ServiceUnavailable, DeadlineExceeded) as error:
                    raise nothing_answers(error) from error
                made.append(name)
            yield made
        finally:
            for name in made:
                subscriber.delete_subscription(subscription=name, retry=None, timeout=CALL_WITHIN_S)
