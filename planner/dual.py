"""Workers and replicas together: who limits whom, how often they turn back, how many a rate needs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from launch.settings.endpoint_parsers import CPU, GPU_DUTY_CYCLE, REQUEST_COUNT
from planner.autoscalers.dataflow import DataflowSettings
from planner.autoscalers.vertex import VertexSettings
from planner.capacity import Capacity
from planner.cost.amount import Amount
from planner.fluid import Endpoint, Job
from planner.timeline import Limit, Timeline

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Period:
    """A time in which one and the same held the messages back.

    Attributes:
        limit: Who.
        from_s: Seconds after the start.
        to_s: Seconds after the start.
    """

    limit: Limit
    from_s: float
    to_s: float


def limits_over_time(timeline: Timeline, draw: int = 0) -> list[Period]:
    """Return who held the messages back when, in one draw: the whole run, without gaps."""
    codes = timeline["limit"][:, draw].astype(np.int64)
    starts = np.flatnonzero(np.diff(codes, prepend=-1))
    ends = np.append(starts[1:], len(codes))
    return [
        Period(Limit(codes[start]), float(timeline.times[start]), float(timeline.times[end]))
        for start, end in zip(starts, ends, strict=True)
    ]


def reversals(wanted: Floats) -> Floats:
    """Return how often each draw's autoscaler turned back, [draws]: down after up, or up after down.

    Args:
        wanted: [s, draws] workers or replicas that it asked for over time.
    """
    found = np.zeros(wanted.shape[1])
    for draw in range(wanted.shape[1]):
        changes = np.sign(np.diff(wanted[:, draw]))
        changes = changes[changes != 0]
        found[draw] = np.count_nonzero(changes[1:] != changes[:-1])
    return found


def needed_workers(rate: float, worker: Capacity, settings: DataflowSettings) -> int:
    """Return the fewest workers that keep up with a rate and stand at the autoscaler's target.

    It is what the range allows where that is more; it may be beyond the most of the range.
    """
    by_rate = math.ceil(rate / worker.kept_up - 1e-9)
    count = max(by_rate, settings.min_workers, 1)
    target = settings.utilization_hint
    while float(worker.cpu_at(np.array(rate / count))) > target and worker.cpu.max() > target:
        count += 1
    return count


def needed_replicas(rate: float, replica: Capacity, settings: VertexSettings) -> int:
    """Return the fewest replicas that keep up with a rate and are not above a target of the endpoint's.

    A metric that the replica does not reach at its capacity has no say: it would never scale by it.
    """
    count = max(math.ceil(rate / replica.kept_up - 1e-9), settings.least)
    while any(
        _load(metric, rate / count, replica, settings) > target for metric, target in settings.targets.items()
    ):
        count += 1
    return count


@dataclass(frozen=True)
class RatioPoint:
    """How many of each a rate needs.

    Attributes:
        rate: Messages a second.
        workers: Of the job.
        replicas: Of the endpoint.
        cost: Of an hour of both.
    """

    rate: float
    workers: int
    replicas: int
    cost: Amount

    @property
    def ratio(self) -> float:
        """Workers for each replica."""
        return self.workers / self.replicas


def ratio_curve(
    rates: Sequence[float],
    job: Job,
    endpoint: Endpoint,
    hour: Callable[[int, int], Amount],
) -> list[RatioPoint]:
    """Return the cheapest workers and replicas for each of several rates, in their order.

    Fewer of either do not keep up, or the autoscaler would add them: so the fewest of both are the cheapest.

    Args:
        rates: Messages a second.
        job: Whose workers.
        endpoint: Whose replicas.
        hour: What an hour of so many workers and replicas costs.
    """
    points = []
    for rate in rates:
        workers = needed_workers(rate, job.worker, job.autoscaler)
        replicas = needed_replicas(rate, endpoint.replica, endpoint.autoscaler)
        points.append(RatioPoint(rate, workers, replicas, hour(workers, replicas)))
    return points


def _load(metric: str, each: float, replica: Capacity, settings: VertexSettings) -> float:
    """Return a metric of a replica at so many messages a second; 0 of one that more replicas do not lower."""
    done = np.array(each)
    if metric == CPU:
        return 100 * float(replica.cpu_at(done))
    if metric == GPU_DUTY_CYCLE:
        return 100 * float(replica.gpu_at(done))
    if metric == REQUEST_COUNT:
        return 60 * each / settings.instances_per_call
    return 0.0
