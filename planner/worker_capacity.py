"""What one worker carries, from its simulation at a few loads: coarse enough for an answer in seconds.

`planner.kernel.curve` goes through the same simulation with many more messages, and into overload. A plan
needs some variants of a worker, and loads from a thousandth of its capacity on, as a small job on a large
machine has them.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from loadtest.raw_log import Floats
from planner.capacity import Capacity
from planner.kernel.simulation import Simulated, evenly, poisson, simulate
from planner.kernel.worker import Worker

# Of the capacity.
_LOADS = (0.0005, 0.002, 0.006, 0.02, 0.06, 0.15, 0.3, 0.5, 0.7, 0.85, 0.95, 1.0)
_QUANTILES = np.linspace(0.0, 1.0, 501)
_MESSAGES = 1_500  # at each load, at least
_SHORTEST_S = 0.6
# Of a simulation, before its messages count: it begins with empty queues.
_WARM_UP = 0.2
_SUSTAINED = 0.99
# A backlog has so many full bundles for each bundle thread; the rate is that of the middle of it.
_FULL_BUNDLES = 6
_FROM, _TO = 0.2, 0.8
# Faster than any process: where calls without pauses between them take no longer than their law says.
_WITHOUT_PAUSES = 1e12


@lru_cache(maxsize=128)
def worker_capacity(worker: Worker, seed: int) -> Capacity:
    """Return what a worker carries; the same arguments give the same, bit by bit.

    Args:
        worker: The worker.
        seed: Of arrivals and of times of calls.
    """
    most = _most(worker, seed)
    loads = [share * most for share in _LOADS]
    runs = [_run(worker, load, seed + number) for number, load in enumerate(loads)]
    # Below its capacity a worker does what comes; counted, that is uncertain by a bundle at either end.
    return Capacity.of_points(
        loads,
        loads,
        [min(1.0, run.used_s / (worker.vcpus * run.until_s)) for run in runs],
        [np.quantile(run.latency_s[run.arrived >= _WARM_UP * run.until_s], _QUANTILES) for run in runs],
        capacity=most,
    )


def _most(worker: Worker, seed: int) -> float:
    """Return the messages a second that a worker sustains.

    Of a backlog it does most, in bundles as large as they get. Where the service forms bundles by the clock,
    they are as large as the rate makes them: what is offered then comes down until it is done.
    """
    bundles = worker.bundles
    threads = bundles.threads * worker.processes
    at_once = min(threads, bundles.max_active or threads)
    n = max(_MESSAGES, _FULL_BUNDLES * at_once * bundles.max_messages)
    done = np.sort(simulate(worker, np.zeros(n), seed, _WITHOUT_PAUSES).done)
    since, until = int(_FROM * n), int(_TO * n)
    rate = (until - since) / float(done[until] - done[since])
    while bundles.gather_s:
        share = _done_share(simulate(worker, evenly(rate, _seconds(rate)), seed, rate))
        if share >= _SUSTAINED:
            break
        rate *= share
    return rate


def _run(worker: Worker, rate: float, seed: int) -> Simulated:
    return simulate(worker, _some(poisson(rate, _seconds(rate), seed)), seed, rate)


def _some(arrived: Floats) -> Floats:
    """Return arrivals of which some are later than the warm-up."""
    return arrived if len(arrived) > 1 else np.array([0.0, 1.0])


def _seconds(rate: float) -> float:
    return max(_MESSAGES / rate, _SHORTEST_S)


def _done_share(run: Simulated) -> float:
    """Return what was done after the warm-up over what arrived then, 1 at most."""
    since = _WARM_UP * run.until_s
    arrived = int((run.arrived >= since).sum())
    done = int(((run.done >= since) & (run.done <= run.until_s)).sum())
    return min(1.0, done / arrived)
