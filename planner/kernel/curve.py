"""What one worker does at each load, measured on its simulation."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, replace

from loadtest.raw_log import Floats


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
    """

    offered: float
    done: float
    batch_size: float
    cpu: float
    latency_s: Floats
    throttled: float = 0.0


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
            return replace(nearest, offered=offered, done=done, cpu=cpu)
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
        )
