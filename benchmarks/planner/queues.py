"""Queues whose mean latency is known in closed form, as workers that the kernel simulates."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from planner.kernel.simulation import Simulated, poisson, simulate
from planner.kernel.worker import AcrossBundles, Bundles, CallTime, ModelInWorker, OnGpu, WithinBundle, Worker

SERVICE_S = 0.01
# Moments at which the messages in the system are counted.
_MOMENTS = 200_000


@dataclass(frozen=True)
class Queue:
    """A queue at a load.

    Attributes:
        name: In the field's notation.
        load: Share of its capacity that is offered.
        rate: Messages a second.
        worker: That is this queue: no work but the calls, of 10 ms in the mean.
        latency_s: Mean time in the system, by its formula.
    """

    name: str
    load: float
    rate: float
    worker: Worker
    latency_s: float


def mm1(load: float) -> Queue:
    """Return M/M/1: exponential service, one server; 1 / (mu - lambda)."""
    return Queue("M/M/1", load, load / SERVICE_S, _servers(1.0, 1), SERVICE_S / (1 - load))


def md1(load: float) -> Queue:
    """Return M/D/1: a service that does not vary (Pollaczek and Khinchine)."""
    latency_s = SERVICE_S * (1 + load / (2 * (1 - load)))
    return Queue("M/D/1", load, load / SERVICE_S, _servers(0.0, 1), latency_s)


def mmc(servers: int, load: float) -> Queue:
    """Return M/M/c: the probability of waiting is Erlang's C."""
    offered = load * servers
    none = sum(offered**k / math.factorial(k) for k in range(servers))
    last = offered**servers / math.factorial(servers) / (1 - load)
    latency_s = SERVICE_S + last / (none + last) * SERVICE_S / (servers * (1 - load))
    return Queue(f"M/M/{servers}", load, offered / SERVICE_S, _servers(1.0, servers), latency_s)


def bulk(most: int, load: float, *, across: bool) -> Queue:
    """Return M/M(1,b)/1: a free server takes all that waits, up to b, for an exponential time.

    While it is busy, n wait with probability C r^n, r the root in (0, 1) of mu r^(b+1) - (lambda + mu) r +
    lambda = 0; it is idle with probability mu C / lambda (Medhi, Stochastic Models in Queueing Theory, 4.4).

    Args:
        most: b.
        load: Share of what it does with full batches.
        across: Each message is a bundle, and they meet in the job's batch queue; else a bundle is the batch.
    """
    rate, mu = load * most / SERVICE_S, 1 / SERVICE_S
    low, high = 0.0, 1 - 1e-9
    for _ in range(100):
        middle = (low + high) / 2
        above = mu * middle ** (most + 1) - (rate + mu) * middle + rate > 0
        low, high = (middle, high) if above else (low, middle)
    scale = 1 / (1 / (1 - low) + mu / rate)
    latency_s = scale * low / (1 - low) ** 2 / rate + SERVICE_S
    if across:
        batching = AcrossBundles(most, max_wait_s=0.0)
        model = ModelInWorker(CallTime(SERVICE_S, 0.0, 1.0), batching, OnGpu(contention=0.0))
        worker = Worker(1, model, bundles=Bundles(threads=1000, max_messages=1))
        return Queue(f"M/M(1,{most})/1, batch queue", load, rate, worker, latency_s)
    return Queue(f"M/M(1,{most})/1, bundles", load, rate, _servers(1.0, 1, most), latency_s)


def queues() -> list[Queue]:
    """Return all that the kernel is held against."""
    loads = (0.3, 0.5, 0.7)
    singles = [queue(load) for queue in (mm1, md1) for load in loads]
    several = [mmc(2, 0.5), mmc(4, 0.7), mmc(12, 0.7)]
    pairs = ((4, 0.5), (16, 0.5), (64, 0.3))
    return singles + several + [bulk(*pair, across=across) for across in (False, True) for pair in pairs]


def run(queue: Queue, messages: int, seed: int) -> Simulated:
    """Simulate a queue."""
    return simulate(queue.worker, poisson(queue.rate, messages / queue.rate, seed), seed + 1)


def length(simulated: Simulated) -> float:
    """Return the mean number of messages in the system, counted at moments at equal distances."""
    at = np.linspace(0.0, simulated.until_s, _MOMENTS)
    there = np.searchsorted(simulated.arrived, at, side="right")
    gone = np.searchsorted(np.sort(simulated.done), at, side="right")
    return float((there - gone).mean())


def _servers(variation: float, servers: int, most: int = 1) -> Worker:
    # A GPU whose calls do not feel each other: each bundle thread is a server of its own.
    model = ModelInWorker(CallTime(SERVICE_S, 0.0, variation), WithinBundle(most), OnGpu(contention=0.0))
    return Worker(1, model, bundles=Bundles(threads=servers, max_messages=most))
