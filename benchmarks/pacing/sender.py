"""`python -m benchmarks.pacing.sender`: a pacer alone in a process, which prints what it did as JSON."""

from __future__ import annotations

import gc
import json
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass

import grpc
import numpy as np

from loadtest.clock import EpochClock, epoch_clock
from loadtest.driver import pacer
from loadtest.driver.grpc_publisher import GrpcPublisher
from loadtest.driver.http2 import Http2Publisher
from loadtest.driver.pacer import Pacer, Share
from loadtest.driver.publisher import Publisher
from loadtest.driver.sender_state import Count, Order, SharedStates, shared_file

TOPIC = "projects/benchmark/topics/pacing"
BODY = b'{"features": [' + b", ".join([b"0.123456"] * 30) + b"]}"
LEAD_S = 0.3


@dataclass(frozen=True)
class Sent:
    """What a sender did.

    Attributes:
        messages: Of the schedule.
        sent: Of them, handed over.
        errors: Of them, given up.
        calls: Publish calls.
        error_ms: Written to the socket - due: p50, p99, max.
        seconds: From the first message due to the last one written.
        cpu_s: Processor time meanwhile.
    """

    messages: int
    sent: int
    errors: int
    calls: int
    error_ms: dict[str, float]
    seconds: float
    cpu_s: float


def _by_http2(address: str, clock: EpochClock) -> Publisher:
    return Http2Publisher(address, TOPIC, clock)


def _by_grpc(address: str, clock: EpochClock) -> Publisher:
    return GrpcPublisher(grpc.insecure_channel(address), TOPIC, clock)


PUBLISHERS: Mapping[str, Callable[[str, EpochClock], Publisher]] = {"http2": _by_http2, "grpc": _by_grpc}


def send(address: str, publisher: str, rate: float, seconds: float, gather_s: float) -> Sent:
    """Send `rate` messages a second for `seconds`.

    Args:
        address: HOST:PORT of the broker.
        publisher: One of PUBLISHERS.
        rate: Messages a second.
        seconds: To send for.
        gather_s: `pacer.GATHER_S` meanwhile.
    """
    pacer.GATHER_S = gather_s
    clock = epoch_clock()
    messages = int(rate * seconds)
    with shared_file(messages, 1) as memory:
        (state,) = SharedStates.make(memory.fileno(), messages, 1).senders
    state.give(Order.SEND)
    sending = Pacer(PUBLISHERS[publisher](address, clock), Share(TOPIC, "cafe", [BODY]), state, clock)
    gc.collect()
    gc.freeze()
    state.intended[:] = clock() + LEAD_S + np.arange(messages) / rate
    cpu_s = time.process_time()
    sending.run()
    cpu_s = time.process_time() - cpu_s
    error_ms = (state.sent_at - state.intended) * 1e3
    return Sent(
        messages=messages,
        sent=int(state.counts[Count.SENT]),
        errors=int(state.counts[Count.ERRORS]),
        calls=int(state.counts[Count.CALLS]),
        error_ms={
            name: float(np.percentile(error_ms, q)) for name, q in (("p50", 50), ("p99", 99), ("max", 100))
        },
        seconds=float(state.sent_at.max() - state.intended[0]),
        cpu_s=cpu_s,
    )


if __name__ == "__main__":
    broker, by, *numbers = sys.argv[1:]
    print(json.dumps(asdict(send(broker, by, *map(float, numbers)))))
