"""What `benchmarks.pacing` measures: a sender alone, and a whole run with its collector."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import grpc
import numpy as np

from benchmarks.pacing.sender import BODY, TOPIC
from broker.testing import BrokerProcess
from loadtest.driver.run import run
from loadtest.driver.system import System
from loadtest.options import RunOptions
from loadtest.raw_log import RawLog
from loadtest.records import Records
from pipeline.pubsub import protos
from pipeline.pubsub.emulator import VARIABLE

_SUBSCRIPTION = "projects/benchmark/subscriptions/pacing"


@dataclass(frozen=True)
class Row:
    """One measurement.

    Attributes:
        side: What sent.
        broker: embedded or null.
        rate: Messages a second.
        messages: Of the schedule.
        sent: Of them, handed over.
        errors: Of them, not accepted.
        seconds: From the first message due to the last one written.
        error_ms: Written to the socket - due: p50, p99, max.
        calls_s: Publish calls a second.
        sender_cores: Processor time of the sending processes over the seconds; so too the following.
        collector_cores: Of the process that collects; None without one.
        broker_cores: Of the broker.
    """

    side: str
    broker: str
    rate: float
    messages: int
    sent: int
    errors: int
    seconds: float
    error_ms: dict[str, float]
    calls_s: float
    sender_cores: float
    collector_cores: float | None
    broker_cores: float


def create(address: str) -> None:
    """Make topic and subscription on an embedded broker."""
    with grpc.insecure_channel(address) as channel:
        for method, request in (
            ("Publisher/CreateTopic", protos.Topic(name=TOPIC)),
            ("Subscriber/CreateSubscription", protos.Subscription(name=_SUBSCRIPTION, topic=TOPIC)),
        ):
            call = channel.unary_unary(
                f"/google.pubsub.v1.{method}", request_serializer=type(request).SerializeToString
            )
            call(request, timeout=30)


def sender_alone(process: BrokerProcess, publisher: str, rate: float, seconds: float, gather_s: float) -> Row:
    """Send from one process, with nothing beside it but the broker.

    Args:
        process: The broker.
        publisher: One of `sender.PUBLISHERS`.
        rate: Messages a second.
        seconds: To send for.
        gather_s: Messages due within this time of the last call leave together.
    """
    command = [sys.executable, "-m", "benchmarks.pacing.sender", process.address, publisher]
    before = process.cpu_seconds()
    output = subprocess.run(
        [*command, str(rate), str(seconds), str(gather_s)], check=True, stdout=subprocess.PIPE
    ).stdout
    broker_cpu_s = process.cpu_seconds() - before
    sent = json.loads(output)
    return Row(
        side=f"{publisher}, {gather_s * 1e3:g} ms",
        broker=process.name,
        rate=rate,
        messages=sent["messages"],
        sent=sent["sent"],
        errors=sent["errors"],
        seconds=sent["seconds"],
        error_ms=sent["error_ms"],
        calls_s=sent["calls"] / sent["seconds"],
        sender_cores=sent["cpu_s"] / sent["seconds"],
        collector_cores=None,
        broker_cores=broker_cpu_s / sent["seconds"],
    )


def whole_run(process: BrokerProcess, rate: float, seconds: float, drivers: int) -> Row:
    """Run `loadtest run`, with what it sends as its own answers: the results' subscription is the topic's.

    Args:
        process: An embedded broker with topic and subscription.
        rate: Messages a second.
        seconds: To send for.
        drivers: Sending processes.
    """
    os.environ[VARIABLE] = process.address
    with tempfile.TemporaryDirectory() as folder:
        options = RunOptions(
            project="benchmark",
            input_topic=TOPIC,
            output_subscription=_SUBSCRIPTION,
            rate=rate,
            duration=seconds,
            input=Records([BODY], [None], [None]),
            out=Path(folder),
            drivers=drivers,
        )
        run(options, system=System(pids=lambda: {"broker": process.group}))
        log = RawLog.read(Path(folder))
    del os.environ[VARIABLE]
    messages = log.messages
    error_ms = (messages.sent_at - messages.intended) * 1e3
    taken = float(np.nanmax(messages.sent_at) - messages.intended[0])
    senders = [f"sender-{i}" for i in range(1, drivers + 1)]
    return Row(
        side=f"whole run, {drivers} driver{'s' if drivers > 1 else ''}",
        broker=process.name,
        rate=rate,
        messages=len(messages),
        sent=int((~np.isnan(messages.sent_at)).sum()),
        errors=log.facts.publish_errors,
        seconds=taken,
        error_ms={
            name: float(np.nanpercentile(error_ms, q)) for name, q in (("p50", 50), ("p99", 99), ("max", 100))
        },
        calls_s=log.facts.publish_calls / taken,
        sender_cores=sum(_cores(log, name) for name in senders),
        collector_cores=_cores(log, "driver"),
        broker_cores=_cores(log, "broker"),
    )


def _cores(log: RawLog, name: str) -> float:
    """Return processor time over time while the schedule was sent, from the samples in it."""
    at, cpu_s = log.values(f"{name}/cpu_s")
    sending = (at >= log.facts.started) & (at <= log.facts.started + log.facts.duration)
    at, cpu_s = at[sending], cpu_s[sending]
    return float((cpu_s[-1] - cpu_s[0]) / (at[-1] - at[0])) if len(at) > 1 else float("nan")
