"""The fluid layer: messages as a quantity that flows, through workers and replicas that come and go.

A step costs the same however many messages there are: arrivals and what is done are rates, the backlog is
their difference. Monte-Carlo draws of what is not published are a dimension of each array. What one worker
does at the load of the moment is looked up in its `Capacity`, so that the effect of larger batches under load
is in it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from planner.autoscalers.dataflow import DataflowSettings
from planner.autoscalers.vertex import VertexSettings
from planner.capacity import Capacity
from planner.draws import Draws
from planner.pools import ReplicaPool, WorkerPool
from planner.timeline import SERIES, Limit, Timeline
from planner.token_bucket import Quota, TokenBucket
from planner.workload import Workload, edges

Floats = NDArray[np.float64]

DEFAULT_STEP_S = 0.1
DEFAULT_RECORD_S = 1.0

# A backlog is offered to its worker within this time, on top of what comes: all but a short one has the
# worker at its capacity. Where nothing comes any more, the last messages leave with this time constant.
_CATCH_UP_S = 0.2
# Workers with a backlog of more work than this limit the job.
_BEHIND_S = 1.0
# Workers held back for less of the time than this are held back by nobody.
_HELD_BACK = 0.01


@dataclass(frozen=True)
class Endpoint:
    """An endpoint that the workers call.

    Attributes:
        replica: What one replica carries, in instances a second.
        autoscaler: Its knobs.
        deployed: Whether its fewest replicas are there at the start; else it is deployed then.
    """

    replica: Capacity
    autoscaler: VertexSettings
    deployed: bool = True


@dataclass(frozen=True)
class Job:
    """A job, as far as the fluid layer knows it.

    Attributes:
        worker: What one worker carries, in messages a second. With an endpoint: one that never holds it back.
        autoscaler: The knobs of its workers.
        endpoint: What it calls, in endpoint mode.
        quotas: Limits on its messages.
        running: Whether the initial workers are there at the start; else the job is launched then.
    """

    worker: Capacity
    autoscaler: DataflowSettings
    endpoint: Endpoint | None = None
    quotas: tuple[Quota, ...] = ()
    running: bool = True


def simulate(
    workload: Workload,
    job: Job,
    draws: Draws,
    step_s: float = DEFAULT_STEP_S,
    record_s: float = DEFAULT_RECORD_S,
    after_s: float = 0.0,
) -> Timeline:
    """Let a workload flow through a job.

    Autoscalers decide, and workers join, between records.

    Args:
        workload: What arrives.
        job: What answers.
        draws: Of what is not published.
        step_s: Seconds of a step.
        record_s: Seconds of a record, a multiple of the step; it is rounded to one.
        after_s: Seconds to go on after the last message has come.
    """
    each = max(round(record_s / step_s), 1)
    seconds = workload.duration_s + after_s
    records = len(edges(seconds, each * step_s)) - 1
    times: Floats = np.arange(records * each + 1, dtype=np.float64) * step_s
    arrivals = np.diff(workload.arrived(np.minimum(times, workload.duration_s)))
    run = _Run(job, draws, records, each, step_s)
    for record in range(records):
        run.record(record, arrivals[record * each : (record + 1) * each])
    return run.timeline(times[::each])


class _Run:
    """The state of a simulation between two records."""

    def __init__(self, job: Job, draws: Draws, records: int, each: int, step_s: float) -> None:
        count = draws.count
        self._job = job
        self._step_s = step_s
        self._each = each
        self._catch_up_s = max(_CATCH_UP_S, step_s)
        record_s = each * step_s
        self._workers = WorkerPool(job.worker, job.autoscaler, draws, records, record_s, running=job.running)
        self._replicas = None
        if job.endpoint:
            self._replicas = ReplicaPool(
                job.endpoint.replica,
                job.endpoint.autoscaler,
                draws,
                records,
                record_s,
                deployed=job.endpoint.deployed,
            )
        self._buckets = [TokenBucket(quota, count) for quota in job.quotas]
        shape = (count, self._workers.groups)
        self._backlog = np.zeros(shape)
        self._arrived = np.zeros((records + 1, *shape))
        self._served = np.zeros((records + 1, *shape))
        self._series = {name: np.zeros((records, count)) for name in SERIES}

    def record(self, record: int, arrivals: Floats) -> None:
        """Compute the steps of a record, with that many messages in each, then let the autoscalers decide."""
        workers, replicas = self._workers, self._replicas
        workers.join(record)
        if replicas:
            replicas.join(record)
        count = len(self._backlog)
        served = np.zeros_like(self._backlog)
        asked, by_quota, passed = np.zeros(count), np.zeros(count), np.zeros(count)
        for messages in arrivals:
            come = workers.shares * messages
            waiting = self._backlog + come
            offered = (come / self._step_s + self._backlog / self._catch_up_s) * workers.parts_inverse
            flow = np.minimum(self._job.worker.done_at(offered) * workers.parts * self._step_s, waiting)
            total = flow.sum(axis=1)
            granted = total
            for bucket in self._buckets:
                granted = bucket.take(granted, self._step_s)
            through = replicas.take(granted, self._step_s) if replicas else granted
            if replicas or self._buckets:
                flow = flow * np.where(total > 0, through / np.where(total > 0, total, 1.0), 1.0)[:, None]
            self._backlog = waiting - flow
            served += flow
            asked += total
            by_quota += granted
            passed += through
        self._arrived[record + 1] = self._arrived[record] + workers.shares * arrivals.sum()
        self._served[record + 1] = self._served[record] + served
        self._observe(record, float(arrivals.sum()), asked, by_quota, passed)

    def _observe(self, record: int, arrived: float, asked: Floats, granted: Floats, passed: Floats) -> None:
        record_s = self._each * self._step_s
        now = (record + 1) * record_s
        backlog = self._backlog.sum(axis=1)
        held = 1 - _ratio(passed, asked)
        done = passed / record_s
        series = self._series
        workers, replicas = self._workers, self._replicas
        series["workers"][record] = workers.ready
        series["wanted_workers"][record] = workers.target
        if replicas:
            series["replicas"][record] = replicas.ready
            series["wanted_replicas"][record] = replicas.target
            cpu, gpu = replicas.utilization(done)
            series["replica_cpu"][record], series["replica_gpu"][record] = cpu, gpu
            replicas.observe(record, now, done, backlog, calling=granted > 0)
        cpu = workers.cpu(done)
        occupied = workers.occupied(asked / record_s)
        workers.observe(record, now, arrived / record_s, done, backlog, cpu, occupied, held)
        series["backlog"][record] = backlog
        series["done_per_s"][record] = done
        series["cpu"][record] = cpu
        series["occupied"][record] = occupied
        series["throttled"][record] = held
        quota_held = 1 - _ratio(granted, asked)
        behind = backlog > done * _BEHIND_S + 1
        series["limit"][record] = np.select(
            [quota_held > _HELD_BACK, held > _HELD_BACK, behind], [Limit.QUOTA, Limit.ENDPOINT,
            Limit.WORKERS], Limit.NOBODY,
        )  # fmt: skip

    def timeline(self, times: Floats) -> Timeline:
        """Return what was recorded."""
        steps = (len(times) - 1) * self._each
        return Timeline(times, self._arrived, self._served, self._series, steps)


def _ratio(part: Floats, whole: Floats) -> Floats:
    """Return part / whole, and 1 where the whole is nothing."""
    return np.where(whole > 0, part / np.where(whole > 0, whole, 1.0), 1.0)
