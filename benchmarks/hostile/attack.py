"""`python -m benchmarks.hostile.attack`: the process that sends what is hostile, apart from the driver.

It begins at once, goes through all inputs again and again, and ends when its stdin is closed, at the end of a
round. It then prints what became of each input, as JSON: `{NAME: {OUTCOME: COUNT}}`.
"""

from __future__ import annotations

import argparse
import contextlib
import select
import socket
import sys
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import orjson
from google.api_core.exceptions import DeadlineExceeded
from google.cloud import pubsub_v1
from google.pubsub_v1.services.publisher import PublisherClient
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport

from benchmarks.hostile.calls import CALLS, HostileCall
from benchmarks.hostile.messages import MESSAGES, HostileMessage
from pipeline.pubsub.channels import publisher_client, subscriber_channel

PREFIX = "hostile/"  # of the request ids
ANSWER_WITHIN_S = 30.0
LETTERS_WITHIN_S = 30.0
_PULL_S = 2.0

Outcomes = dict[str, Counter[str]]
_T = TypeVar("_T")


def main(arguments: Sequence[str] | None = None) -> int:
    """Attack until stdin is closed, print the outcomes, and return 0."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.hostile.attack", allow_abbrev=False)
    parser.add_argument("--every", type=float, required=True, help="seconds between two inputs")
    targets = parser.add_subparsers(dest="target", required=True)
    job = targets.add_parser("job")
    job.add_argument("topic")
    job.add_argument("dead_letter_subscription")
    container = targets.add_parser("container")
    container.add_argument("address")
    flags = parser.parse_args(arguments)
    over = threading.Event()
    threading.Thread(target=_wait_for_end_of_stdin, args=(over,), daemon=True).start()
    if flags.target == "job":
        outcomes = attack_job(flags.topic, flags.dead_letter_subscription, flags.every, over)
    else:
        outcomes = attack_container(flags.address, flags.every, over)
    sys.stdout.buffer.write(orjson.dumps(outcomes))
    return 0


def publish(publisher: PublisherClient, topic: str, name: str, message: HostileMessage) -> None:
    """Publish a hostile message under the request id by which its dead letter is known."""
    attributes = {**message.attributes, "request_id": f"{PREFIX}{name}"}
    sent = pubsub_v1.types.PubsubMessage(data=message.data, attributes=attributes)
    # The generated client's publish: one call at once.
    PublisherClient.publish(publisher, topic=topic, messages=[sent])


def attack_job(topic: str, dead_letter_subscription: str, every_s: float, over: threading.Event) -> Outcomes:
    """Publish hostile messages, and take their dead letters; return what became of each.

    A message without a dead letter may have a result, which is the load driver's to see.
    """
    outcomes: Outcomes = {name: Counter() for name in MESSAGES}
    publisher = publisher_client()

    def send(name: str, message: HostileMessage) -> None:
        publish(publisher, topic, name, message)
        outcomes[name]["sent"] += 1

    # Not a plain SubscriberClient, whose emulator channel takes no message above 4 MB.
    transport = SubscriberGrpcTransport(channel=subscriber_channel())
    with pubsub_v1.SubscriberClient(transport=transport) as subscriber:
        done = threading.Event()
        taking = threading.Thread(
            target=_take_letters, args=(subscriber, dead_letter_subscription, outcomes, done)
        )
        taking.start()
        _cycle(MESSAGES, send, every_s, over)
        done.wait(LETTERS_WITHIN_S if _unanswered(outcomes) else 0)
        done.set()
        taking.join()
    return outcomes


def attack_container(address: str, every_s: float, over: threading.Event) -> Outcomes:
    """Make hostile calls; return the status, or what else became of each connection."""
    outcomes: Outcomes = {name: Counter() for name in CALLS}
    host, _, port = address.rpartition(":")
    threads: list[threading.Thread] = []

    def call(name: str, hostile: HostileCall) -> None:
        for _ in range(hostile.connections):
            connection = socket.create_connection((host, int(port)), ANSWER_WITHIN_S)
            thread = threading.Thread(target=_exchange, args=(connection, hostile, outcomes[name], over))
            thread.start()
            threads.append(thread)

    _cycle(CALLS, call, every_s, over)
    for thread in threads:
        thread.join()
    return outcomes


def _wait_for_end_of_stdin(over: threading.Event) -> None:
    sys.stdin.buffer.read()
    over.set()


def _cycle(
    inputs: Mapping[str, _T], send: Callable[[str, _T], None], every_s: float, over: threading.Event
) -> None:
    while not over.is_set():
        for name, one in inputs.items():
            send(name, one)
            over.wait(every_s)


def _unanswered(outcomes: Outcomes) -> bool:
    return any(counts["sent"] > counts["dead letter"] for counts in outcomes.values())


def _take_letters(
    subscriber: pubsub_v1.SubscriberClient, subscription: str, outcomes: Outcomes, done: threading.Event
) -> None:
    while not done.is_set():
        with contextlib.suppress(DeadlineExceeded):
            pulled = subscriber.pull(subscription=subscription, max_messages=10, timeout=_PULL_S, retry=None)
            for received in pulled.received_messages:
                name = received.message.attributes["request_id"].removeprefix(PREFIX)
                if name in outcomes:
                    outcomes[name]["dead letter"] += 1
            ack_ids = [received.ack_id for received in pulled.received_messages]
            if ack_ids:
                subscriber.acknowledge(subscription=subscription, ack_ids=ack_ids)


def _exchange(
    connection: socket.socket, hostile: HostileCall, counts: Counter[str], over: threading.Event
) -> None:
    """Send a call, and count what became of it: a status, or how the connection ended."""
    with connection:
        connection.settimeout(ANSWER_WITHIN_S)
        try:
            # What is refused early may be answered before all is sent, and the connection reset.
            with contextlib.suppress(ConnectionError):
                connection.sendall(hostile.data)
            if hostile.held:
                _wait_while_held(connection, over)
            answer = connection.recv(4096)
        except TimeoutError:
            counts["no answer"] += 1
        except ConnectionError:
            counts["reset"] += 1
        else:
            counts[answer.split(maxsplit=2)[1].decode() if answer else "closed"] += 1


def _wait_while_held(connection: socket.socket, over: threading.Event) -> None:
    """Return once the container says something or closes, or 1 s after the attack is over.

    Raises:
        TimeoutError: It did neither.
    """
    while not select.select([connection], [], [], 1.0)[0]:
        if over.is_set():
            raise TimeoutError


if __name__ == "__main__":
    sys.exit(main())
