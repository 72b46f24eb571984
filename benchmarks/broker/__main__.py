"""`python -m benchmarks.broker`: the embedded broker beside Google's emulator, one hop through each.

Open loop: a message's latency counts from when it should have been sent. Each broker runs in a process of its
own; the client runs here. It publishes what is due every few milliseconds with one low-level Publish call,
because the client library's batching publisher would cost more than the broker. Low rates are received with
the client library's SubscriberClient, which is what an application sees; above 500 msg/s with a low-level
StreamingPull, because there the library's callbacks would be what is measured.
"""

import argparse
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from queue import SimpleQueue
from typing import Any

import grpc
import numpy as np
from google.auth.credentials import AnonymousCredentials
from google.cloud import pubsub_v1
from rich.console import Console
from rich.table import Table

from broker.testing import BrokerProcess, embedded_broker, google_emulator, why_no_emulator
from pipeline.pubsub import protos
from pipeline.pubsub.protos import Proto

PUBLISH_EVERY_S = 0.004
HIGH_LEVEL_UP_TO = 500  # msg/s
DRAIN_S = 10.0
PAYLOAD = b'{"features": [' + b", ".join([b"0.123456"] * 30) + b"]}"

_PROJECT = "projects/benchmark"
_PUBLISHER = "/google.pubsub.v1.Publisher/"
_SUBSCRIBER = "/google.pubsub.v1.Subscriber/"


@dataclass(frozen=True)
class Row:
    """One broker at one rate. Latencies in milliseconds, processor shares in cores."""

    broker: str
    receiver: str
    rate: float
    seconds: float
    sent: int
    received: int
    duplicates: int
    achieved_rate: float
    latency_ms: dict[str, float]
    broker_cores: float
    client_cores: float


class Arrivals:
    """Collects when each message number arrived; latency counts from when it was due."""

    def __init__(self, total: int) -> None:
        self._arrived = np.full(total, np.nan)
        self._lock = threading.Lock()
        self.count = 0
        self.duplicates = 0

    def record(self, numbers: Sequence[int], at: float) -> None:
        with self._lock:
            for number in numbers:
                if np.isnan(self._arrived[number]):
                    self._arrived[number] = at
                    self.count += 1
                else:
                    self.duplicates += 1

    def latencies_s(self, due: np.ndarray) -> np.ndarray:
        latencies = self._arrived - due
        return latencies[~np.isnan(latencies)]

    def last(self) -> float:
        return float(np.nanmax(self._arrived))


def publish_on_schedule(channel: grpc.Channel, topic: str, due: np.ndarray) -> None:
    """Send message `i` at monotonic time `due[i]`, numbered in the attribute `n`; wait for every answer."""
    publish = channel.unary_unary(
        f"{_PUBLISHER}Publish",
        request_serializer=protos.PublishRequest.SerializeToString,
        response_deserializer=protos.PublishResponse.FromString,
    )
    calls: list[Any] = []
    sent = 0
    while sent < len(due):
        time.sleep(max(0.0, due[sent] - time.monotonic(), PUBLISH_EVERY_S if sent else 0.0))
        now_due = int(np.searchsorted(due, time.monotonic(), side="right"))
        while sent < now_due:
            last = min(now_due, sent + 1000)
            messages = [
                protos.PubsubMessage(data=PAYLOAD, attributes={"n": str(n)}) for n in range(sent, last)
            ]
            calls.append(publish.future(protos.PublishRequest(topic=topic, messages=messages), timeout=60))
            sent = last
    for call in calls:
        call.result()


@contextmanager
def high_level_receiver(channel: grpc.Channel, subscription: str, arrivals: Arrivals) -> Iterator[None]:
    """Receive with SubscriberClient.subscribe, as an application does."""
    client = _subscriber_client(channel)

    def receive(message: Any) -> None:
        arrivals.record([int(message.attributes["n"])], time.monotonic())
        message.ack()

    streaming = client.subscribe(subscription, receive)
    try:
        yield
    finally:
        streaming.cancel()
        streaming.result()


@contextmanager
def low_level_receiver(channel: grpc.Channel, subscription: str, arrivals: Arrivals) -> Iterator[None]:
    """Receive with one StreamingPull, acknowledging on the stream."""
    requests: SimpleQueue[Proto | None] = SimpleQueue()
    requests.put(protos.StreamingPullRequest(subscription=subscription, stream_ack_deadline_seconds=60))
    call = channel.stream_stream(
        f"{_SUBSCRIBER}StreamingPull",
        request_serializer=protos.StreamingPullRequest.SerializeToString,
        response_deserializer=protos.StreamingPullResponse.FromString,
    )(iter(requests.get, None))

    def receive() -> None:
        try:
            for response in call:
                at = time.monotonic()
                received = response.received_messages
                arrivals.record([int(each.message.attributes["n"]) for each in received], at)
                if received:
                    requests.put(protos.StreamingPullRequest(ack_ids=[each.ack_id for each in received]))
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.CANCELLED:
                raise

    thread = threading.Thread(target=receive, name="receiver")
    thread.start()
    try:
        yield
    finally:
        call.cancel()
        requests.put(None)
        thread.join()


def measure(process: BrokerProcess, rate: float, seconds: float, number: int) -> Row:
    """Send `rate` messages a second for `seconds` through a fresh topic and subscription."""
    topic, subscription = f"{_PROJECT}/topics/hop-{number}", f"{_PROJECT}/subscriptions/hop-{number}"
    total = int(rate * seconds)
    arrivals = Arrivals(total)
    receiver: Callable[[grpc.Channel, str, Arrivals], AbstractContextManager[None]]
    name, receiver = (
        ("SubscriberClient", high_level_receiver)
        if rate <= HIGH_LEVEL_UP_TO
        else ("StreamingPull", low_level_receiver)
    )
    with (
        grpc.insecure_channel(process.address) as publishing,
        grpc.insecure_channel(
            process.address, options=[("grpc.max_receive_message_length", -1)]
        ) as receiving,
    ):
        _create(publishing, topic, subscription)
        with receiver(receiving, subscription, arrivals):
            broker_cpu, client_cpu, begun = process.cpu_seconds(), time.process_time(), time.monotonic()
            due = begun + 0.5 + np.arange(total) / rate
            publish_on_schedule(publishing, topic, due)
            drained_by = time.monotonic() + DRAIN_S
            while arrivals.count < total and time.monotonic() < drained_by:
                time.sleep(0.02)
            elapsed = time.monotonic() - begun
            broker_cores = (process.cpu_seconds() - broker_cpu) / elapsed
            client_cores = (time.process_time() - client_cpu) / elapsed
    latencies_ms = arrivals.latencies_s(due) * 1e3
    quantiles = {"p50": 50, "p90": 90, "p99": 99, "max": 100}
    return Row(
        broker=process.name,
        receiver=name,
        rate=rate,
        seconds=seconds,
        sent=total,
        received=arrivals.count,
        duplicates=arrivals.duplicates,
        achieved_rate=arrivals.count / (arrivals.last() - due[0] + 1 / rate),
        latency_ms={key: float(np.percentile(latencies_ms, q)) for key, q in quantiles.items()},
        broker_cores=broker_cores,
        client_cores=client_cores,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.broker", description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=10.0, help="length of a row (default %(default)s)")
    parser.add_argument(
        "--rates", type=float, nargs="+", default=[100.0, 1000.0, 5000.0], help="msg/s, one row each"
    )
    parser.add_argument("--json", metavar="FILE", help="also write the raw figures here")
    options = parser.parse_args(arguments)
    if options.seconds <= 0 or min(options.rates) <= 0:
        parser.error("--seconds and --rates must be above 0")

    # Without a terminal rich assumes 80 columns, which the table does not fit.
    console = Console(width=None if sys.stdout.isatty() else 130)
    rows: list[Row] = []
    skipped = why_no_emulator()
    brokers = [embedded_broker] if skipped else [embedded_broker, google_emulator]
    for start in brokers:
        with start() as process:
            for number, rate in enumerate(options.rates):
                console.print(f"{process.name}: {rate:g} msg/s for {options.seconds:g} s", style="dim")
                rows.append(measure(process, rate, options.seconds, number))
    console.print(_table(rows))
    console.print(f"missing: not received within {DRAIN_S:g} s after the last message was sent")
    if skipped:
        console.print(f"Google's emulator was skipped: {skipped}")
    if options.json:
        with open(options.json, "w") as file:
            json.dump({"rows": [asdict(row) for row in rows], "skipped": skipped}, file, indent=2)
    return 0


def _create(channel: grpc.Channel, topic: str, subscription: str) -> None:
    for method, request in (
        (f"{_PUBLISHER}CreateTopic", protos.Topic(name=topic)),
        (f"{_SUBSCRIBER}CreateSubscription", protos.Subscription(name=subscription, topic=topic)),
    ):
        channel.unary_unary(method, request_serializer=type(request).SerializeToString)(request, timeout=30)


def _subscriber_client(channel: grpc.Channel) -> pubsub_v1.SubscriberClient:
    transport_class = pubsub_v1.SubscriberClient.get_transport_class("grpc")
    return pubsub_v1.SubscriberClient(
        transport=transport_class(channel=channel, credentials=AnonymousCredentials())
    )


def _table(rows: Sequence[Row]) -> Table:
    table = Table(title="One hop: publish to receive, latency from the intended send time")
    table.add_column("broker")
    table.add_column("receiver")
    for heading in (
        "msg/s",
        "achieved",
        "missing",
        "twice",
        "p50 ms",
        "p90",
        "p99",
        "max",
        "broker cores",
        "client",
    ):
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(
            row.broker,
            row.receiver,
            f"{row.rate:,.0f}",
            f"{row.achieved_rate:,.0f}",
            f"{row.sent - row.received:,}",
            f"{row.duplicates:,}",
            *(f"{row.latency_ms[key]:.1f}" for key in ("p50", "p90", "p99", "max")),
            f"{row.broker_cores:.2f}",
            f"{row.client_cores:.2f}",
        )
    return table


if __name__ == "__main__":
    sys.exit(main())
