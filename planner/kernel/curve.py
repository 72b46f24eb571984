"""What one worker does at each load, measured on its simulation."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from loadtest.raw_log import Floats
from planner.kernel.simulation import Simulated, evenly, poisson, simulate
from planner.kernel.worker import Worker

# Shares of the capacity that points stand at.
_LOADS = (
    0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.87, 0.93, 0.97, 1.0, 1.1, 1.5,
)  # fmt: skip
_QUANTILES = 1001
# A load is sustained where so much of it is done while it is offered.
SUSTAINED = 0.99
# Of a simulation, before its messages count; a queue that starts empty fills meanwhile.
_WARM_UP = 0.2
_OVERLOAD_S = 60.0
# A simulation lasts so many times the latencies that it finds: else what it began with counts.
_LONG, _LONGER, _LONGEST_S = 15.0, 2, 600.0
# A backlog gives each bundle thread so many full bundles; the rate is that of the middle of it.
_FULL_BUNDLES = 20
_FROM, _TO = 0.2, 0.8
# Near its capacity a queue takes long to forget how it began.
_NEAR, _NEAR_FACTOR = 0.9, 3
# Faster than any process: where calls without pauses between them take no longer than their law says.
_WITHOUT_PAUSES = 1e12


@dataclass(frozen=True)
class WorkerPoint:
    """One load of one worker.

    Attributes:
        offered: Messages a second.
        done: Messages a second.
        batch_size: Messages of a batch, mean over batches.
        cpu: Utilisation of the worker's vCPUs, 0 to 1.
        latency_s: [n] latencies of messages from arrival at the worker to their result, seconds, ascending:
            quantiles at equal steps, the same n at each load. Of loads beyond capacity: of the messages of
            the first minute.
        throttled: Share of the bundle threads' time that they wait because an endpoint is full, 0 to 1: what
            the job's throttling counter tells Dataflow.
        gpu: Duty cycle of the worker's GPU, 0 to 1; 0 without one.
    """

    offered: float
    done: float
    batch_size: float
    cpu: float
    latency_s: Floats
    throttled: float = 0.0
    gpu: float = 0.0


@dataclass(frozen=True)
class WorkerCurve:
    """What one worker does, by load.

    Attributes:
        points: 12 to 20, ascending, up to beyond capacity.
        capacity: Messages a second that it sustains.
    """

    points: tuple[WorkerPoint, ...]
    capacity: float

    def at(self, offered: float) -> WorkerPoint:
        """Return what it does at a load, interpolated between its neighbours, quantile by quantile.

        Below the first load, and beyond the last, the worker does what it does there; but it never does more
        than is offered.
        """
        loads = [point.offered for point in self.points]
        upper = bisect_left(loads, offered)
        if upper == 0 or upper == len(loads):
            nearest = self.points[min(upper, len(loads) - 1)]
            done = nearest.done if upper else nearest.done * offered / nearest.offered
            cpu = nearest.cpu if upper else nearest.cpu * offered / nearest.offered
            gpu = nearest.gpu if upper else nearest.gpu * offered / nearest.offered
            return replace(nearest, offered=offered, done=done, cpu=cpu, gpu=gpu)
        below, above = self.points[upper - 1], self.points[upper]
        share = (offered - below.offered) / (above.offered - below.offered)

        def between(one: float, other: float) -> float:
            return one + share * (other - one)

        return WorkerPoint(
            offered,
            min(offered, between(below.done, above.done)),
            between(below.batch_size, above.batch_size),
            between(below.cpu, above.cpu),
            below.latency_s + share * (above.latency_s - below.latency_s),
            between(below.throttled, above.throttled),
            between(below.gpu, above.gpu),
        )


@lru_cache(maxsize=512)
def worker_curve(worker: Worker, seed: int, messages: int = 10_000) -> WorkerCurve:
    """Return what a worker does at each load, from messages that arrive as a Poisson process.

    The same arguments give the same curve, bit by bit.

    Args:
        worker: The worker.
        seed: Of all that is random.
        messages: Simulated at each load at least; quantiles above 1 - 30 / messages are rough.
    """
    capacity = _capacity(worker, seed, messages)
    points: list[WorkerPoint] = []
    p50_s = 0.0
    for number, share in enumerate(_LOADS):
        points.append(_point(worker, share * capacity, seed + number, messages, share, p50_s))
        p50_s = float(points[-1].latency_s[_QUANTILES // 2])
    return WorkerCurve(tuple(points), capacity)


def _capacity(worker: Worker, seed: int, messages: int) -> float:
    """Return what the worker does of a backlog, where its batches are as large as they get.

    Where the service forms bundles before the worker asks, they are only as large as the rate makes them, and
    a backlog does not help: then what was done is offered, until what is offered is done.
    """
    bundles = worker.bundles
    threads = min(
        bundles.threads * worker.processes, bundles.max_active or bundles.threads * worker.processes
    )
    n = max(messages, _FULL_BUNDLES * threads * bundles.max_messages)
    done = np.sort(simulate(worker, np.zeros(n), seed, _WITHOUT_PAUSES).done)
    since, until = int(_FROM * n), int(_TO * n)
    rate = (until - since) / float(done[until] - done[since])
    while bundles.gather_s:
        run = simulate(worker, evenly(rate, max(messages / rate, _LONG * bundles.gather_s)), seed, rate)
        share = _done_share(run)
        if share >= SUSTAINED:
            break
        rate *= share
    return rate


def _point(worker: Worker, rate: float, seed: int, messages: int, share: float, p50_s: float) -> WorkerPoint:
    """Return what a worker does at a share of its capacity; `p50_s` is its latency at the load before."""
    overload = share > 1
    least = messages * (_NEAR_FACTOR if share > _NEAR else 1)
    seconds = _OVERLOAD_S if overload else max(least / rate, min(_LONG * p50_s, _LONGEST_S))
    while True:
        run = simulate(worker, poisson(rate, seconds, seed), seed, rate)
        counted = run.latency_s if overload else run.latency_s[run.arrived >= _WARM_UP * run.until_s]
        latency_s = np.quantile(counted, np.linspace(0.0, 1.0, _QUANTILES))
        if overload or seconds >= min(_LONG * latency_s[_QUANTILES // 2], _LONGEST_S):
            break
        seconds *= _LONGER
    latency_s.setflags(write=False)  # points are shared by all who ask
    threads = worker.bundles.threads * worker.processes
    return WorkerPoint(
        rate,
        # A queue below its capacity does what comes. Counted, that is uncertain by a bundle at either end.
        rate if share < 1 else rate * _done_share(run),
        run.batch_size,
        min(1.0, run.used_s / (worker.vcpus * run.until_s)),
        latency_s,
        min(1.0, run.throttled_s / (threads * float(run.done.max()))),
        min(1.0, run.gpu_s / run.until_s),
    )


def _done_share(run: Simulated) -> float:
    """Return what was done after the warm-up over what arrived then, 1 at most."""
    since = _WARM_UP * run.until_s
    arrived = int((run.arrived >= since).sum())
    done = int(((run.done >= since) & (run.done <= run.until_s)).sum())
    return min(1.0, done / arrived)
