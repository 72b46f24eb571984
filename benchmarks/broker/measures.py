"""What `benchmarks.broker` measures: one hop through a broker at one rate."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

import grpc
import numpy as np

from benchmarks.broker.client import (
    Arrivals,
    create,
    high_level_receiver,
    low_level_receiver,
    publish_on_schedule,
)
from broker.testing import BrokerProcess

HIGH_LEVEL_UP_TO = 500  # msg/s
DRAIN_S = 10.0

_PROJECT = "projects/benchmark"


@dataclass(frozen=True)
class Row:
    """One broker at one rate.

    Attributes:
        rate: In msg/s, as achieved_rate.
        seconds: For which messages were sent.
        latency_ms: From when a message was due to when it arrived: p50, p90, p99, max.
        broker_cores: Processor time over time, as client_cores.
    """

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


def measure(process: BrokerProcess, rate: float, seconds: float, number: int) -> Row:
    """Send `rate` messages a second for `seconds` through a new topic and subscription, the `number`-th."""
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
        create(publishing, topic, subscription)
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
