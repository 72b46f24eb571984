"""`python -m benchmarks.hostile.attack`: the process that sends what is hostile, apart from the driver.

It prints a line (the address of the endpoint, where it is one). From the first byte on stdin on it goes
through all inputs again and again, and ends when stdin is closed, at the end of a round. It then prints what
became of each input, as JSON: `{NAME: {OUTCOME: COUNT}}`.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import select
import socket
import sys
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import orjson
from google.api_core.exceptions import DeadlineExceeded
from google.cloud import pubsub_v1
from google.pubsub_v1.services.publisher import PublisherClient
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport

from benchmarks.hostile import files
from benchmarks.hostile.calls import CALLS, HostileCall
from benchmarks.hostile.messages import MESSAGES, HostileMessage
from pipeline.pubsub.channels import publisher_client, subscriber_channel
from tests.integration.faulty_endpoint import Answer, FaultyEndpoint
from tests.pipeline.inference.endpoint.test_hostile_answers import ENDLESS, HOSTILE_JSON

# Below 16 MiB these are answers that an endpoint may give, whatever the model.
_VALID = {"empty lists only", "empty objects only", "short strings only"}
ANSWERS = {name: answer for name, answer in HOSTILE_JSON.items() if name not in _VALID} | {
    f"{name} without end": answer for name, answer in ENDLESS.items()
}
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
    pointed = targets.add_parser("files")
    pointed.add_argument("folder", type=Path)
    answers = targets.add_parser("answers")
    answers.add_argument("address")
    flags = parser.parse_args(arguments)
    over = threading.Event()
    if flags.target == "answers":
        outcomes = answer_the_job(flags.address, flags.every, over)
    else:
        print(flush=True)
        _await_start(over)
        if flags.target == "job":
            outcomes = attack_job(flags.topic, flags.dead_letter_subscription, flags.every, over)
        elif flags.target == "files":
            outcomes = attack_files(flags.folder, flags.every, over)
        else:
            outcomes = attack_container(flags.address, flags.every, over)
    print(orjson.dumps(outcomes).decode())
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


def attack_files(folder: Path, every_s: float, over: threading.Event) -> Outcomes:
    """Point to hostile files, one after the other, and at the end to none; return how often to each."""
    pointers = files.write(folder)
    outcomes: Outcomes = {name: Counter() for name in pointers}
    pointer = folder / files.POINTER
    before = pointer.read_bytes()

    def point(content: bytes) -> None:
        beside = folder / "current.new"
        beside.write_bytes(content)
        beside.replace(pointer)

    def point_to(name: str, content: bytes) -> None:
        point(content)
        outcomes[name]["pointed to"] += 1

    _cycle(pointers, point_to, every_s, over)
    point(before)
    return outcomes


def answer_the_job(address: str, every_s: float, over: threading.Event) -> Outcomes:
    """Stand before a container, print the address, and answer some calls; return how many.

    Args:
        address: The container's.
        every_s: Infinite: every call is passed on.
        over: Set to end it.
    """
    outcomes: Outcomes = {name: Counter() for name in ANSWERS}
    host, _, port = address.rpartition(":")
    with FaultyEndpoint(host, int(port), features=30) as front:

        def spoil(name: str, answer: Answer) -> None:
            before = len(front.faulted)
            front.misbehave(answer, times=1)
            over.wait(every_s)
            outcomes[name]["answered with"] += len(front.faulted) - before

        print(front.url, flush=True)
        _await_start(over)
        if every_s < math.inf:
            _cycle(ANSWERS, spoil, 0, over)
            front.behave()
        over.wait()
    return outcomes


def _await_start(over: threading.Event) -> None:
    """Return at the first byte on stdin, or at its end. From then on, its end sets `over`."""
    # Not sys.stdin, whose lock a daemon thread must not hold at the end.
    stdin = sys.stdin.fileno()
    if not os.read(stdin, 1):
        over.set()

    def watch() -> None:
        while os.read(stdin, 1):
            pass
        over.set()

    threading.Thread(target=watch, daemon=True).start()


def _cycle(
    inputs: Mapping[str, _T], send: Callable[[str, _T], None], every_s: float, over: threading.Event
) -> None:
    while True:
        for name, one in inputs.items():
            send(name, one)
            over.wait(every_s)
        if over.is_set():
            return


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
