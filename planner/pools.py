"""The workers of a job and the replicas of an endpoint in a simulation: who is ready, who is on the way."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from planner.autoscalers.dataflow import DataflowAutoscaler, DataflowSettings, WorkerSignals
from planner.autoscalers.starts import Starts, start_delays
from planner.autoscalers.vertex import (
    CYCLE_S,
    ReplicaSignals,
    VertexAutoscaler,
    VertexSettings,
    replica_start,
)
from planner.capacity import Capacity
from planner.draws import Draws

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

# Workers of unequal load, as groups between these quantiles of a normal distribution: the few most loaded
# decide on the highest latencies.
_QUANTILES = (0.0, 0.2, 0.4, 0.6, 0.8, 0.95, 0.99, 1.0)


class WorkerPool:
    """The workers of a job, in all draws at once."""

    def __init__(
        self,
        worker: Capacity,
        settings: DataflowSettings,
        draws: Draws,
        records: int,
        record_s: float,
        *,
        running: bool,
    ) -> None:
        """Begin with the initial workers, ready if the job is running, else on the way.

        Args:
            worker: What one of them carries.
            settings: Of the autoscaler.
            draws: Of what is not published.
            records: Records of the run.
            record_s: Seconds of each.
            running: Whether they are there at the start.
        """
        self._worker = worker
        self._settings = settings
        self._draws = draws
        self._record_s = record_s
        self._autoscaler = DataflowAutoscaler(settings, draws)
        self._starts = Starts(records, draws.count)
        self._skew = draws["worker_skew"]
        self._sizes, self._deviations = _groups(_QUANTILES if self._skew.any() else (0.0, 1.0))
        self.ready = np.zeros(draws.count)
        """[draws] workers that are there."""
        if running:
            self.ready += settings.initial
        else:
            start_s = draws["job_start_s"]
            if settings.gpu:
                start_s = np.maximum(start_s, draws["gpu_worker_start_s"])
            for draw in range(draws.count):
                self._start(0, draw, settings.initial, start_s[draw])
        self._divide()
        self._signals = _Means(draws.count)

    @property
    def groups(self) -> int:
        """Groups of workers of equal load."""
        return len(self._deviations)

    @property
    def target(self) -> Floats:
        """[draws] workers that the autoscaler has asked for."""
        return self._autoscaler.target

    def join(self, record: int) -> None:
        """Let those that become ready in a record join."""
        if not self._starts.pending.any():
            return
        joined = self._starts.take(record)
        if joined.any():
            self.ready = self.ready + joined
            self._divide()

    def cpu(self, done: Floats) -> Floats:
        """Return the mean utilisation of the vCPUs, [draws], while that many messages a second are done."""
        return self._worker.cpu_at(np.where(self.ready > 0, done / np.maximum(self.ready, 1), 0.0))

    def occupied(self, asked: Floats) -> Floats:
        """Return the share of the bundle threads at work, [draws].

        Args:
            asked: [draws] messages a second that the workers would have done, had nobody held them back: who
                is held back waits with its thread.
        """
        able = self.ready * self._worker.most
        return np.where(able > 0, np.minimum(asked / np.where(able > 0, able, 1.0), 1.0), 0.0)

    def observe(
        self,
        record: int,
        now: float,
        arriving: float,
        done: Floats,
        backlog: Floats,
        cpu: Floats,
        occupied: Floats,
        held: Floats,
    ) -> None:
        """Take note of a record, and let the autoscaler decide where it is time."""
        means = self._signals
        means.add(np.stack([np.full(len(done), arriving), done, cpu, occupied, held]))
        due = self._autoscaler.next_decision <= now
        if not due.any():
            return
        arrivals, answered, busy, threads, throttled = means.take(due)
        signals = WorkerSignals(self.ready, arrivals, answered, backlog, busy, threads, throttled)
        before = self.target
        # Before the first worker is ready there is nothing to decide by.
        wanted = self._autoscaler.decide(now, due & (self.ready > 0), signals, self._starts.pending)
        for draw in np.flatnonzero(wanted != before).tolist():
            self._change(record, draw, wanted[draw])

    def _change(self, record: int, draw: int, wanted: float) -> None:
        there = self.ready[draw] + self._starts.pending[draw]
        if wanted > there:
            name = "gpu_worker_start_s" if self._settings.gpu else "worker_start_s"
            self._start(record, draw, round(wanted - there), self._draws[name][draw])
        elif wanted < there:
            self._starts.cancel(record, draw, max(wanted - self.ready[draw], 0.0))
            self.ready = self.ready.copy()
            self.ready[draw] = min(self.ready[draw], wanted)
            self._divide()

    def _start(self, record: int, draw: int, count: int, median_s: float) -> None:
        spread = self._draws["worker_start_spread"][draw]
        self._starts.ask(record, draw, start_delays(count, median_s, spread) / self._record_s)

    def _divide(self) -> None:
        """Spread messages and workers over the groups anew.

        No value of n lies further than (n - 1) / sqrt(n) standard deviations from their mean (Samuelson's
        inequality): few workers cannot differ as far as many, and a lone one has nobody to differ from.
        """
        count = np.maximum(self.ready, 1.0)[:, None]
        furthest = (count - 1) / np.sqrt(count)
        deviations = np.clip(self._deviations, -furthest, furthest)
        shares = self._sizes * np.maximum(1 + self._skew[:, None] * deviations, 0.0)
        self.shares = shares / shares.sum(axis=1, keepdims=True)
        """[draws, groups] shares of the messages, which sum up to 1."""
        able = np.minimum(self.ready, self._settings.useful_workers)
        self.parts = able[:, None] * self._sizes
        """[draws, groups] workers of each group; parts of one where they are few."""
        self.parts_inverse = np.where(self.parts > 0, 1 / np.where(self.parts > 0, self.parts, 1.0), 0.0)
        """[draws, groups] one over them; 0 where there are none."""


class ReplicaPool:
    """The replicas of an endpoint, in all draws at once."""

    def __init__(
        self,
        replica: Capacity,
        settings: VertexSettings,
        draws: Draws,
        records: int,
        record_s: float,
        deployed: bool,
    ) -> None:
        """Begin with the fewest replicas, ready if the endpoint is deployed, else on the way."""
        self._replica = replica
        self._settings = settings
        self._record_s = record_s
        self._autoscaler = VertexAutoscaler(settings, draws, int(records * record_s / CYCLE_S) + 1)
        self._starts = Starts(records, draws.count)
        self._delay = replica_start(settings, draws).total_s
        self._next = CYCLE_S
        self._means = _Means(draws.count)
        self._calling = np.zeros(draws.count, dtype=np.bool_)
        self.ready = np.zeros(draws.count)
        """[draws] replicas that are there."""
        if deployed:
            self.ready += settings.min_replicas
        else:
            for draw in range(draws.count):
                delays = np.full(settings.min_replicas, draws["deployment_s"][draw])
                self._starts.ask(0, draw, delays / record_s)

    @property
    def target(self) -> Floats:
        """[draws] replicas that the autoscaler has asked for."""
        return self._autoscaler.target

    def join(self, record: int) -> None:
        """Let those that become ready in a record join."""
        if self._starts.pending.any():
            self.ready = self.ready + self._starts.take(record)

    def take(self, messages: Floats, step_s: float) -> Floats:
        """Return how many of [draws] messages they answer in a step; none while there is no replica."""
        each = np.maximum(self.ready, 1.0)
        able = self._replica.done_at(messages / (each * step_s)) * self.ready * step_s
        return np.minimum(messages, able)

    def utilization(self, done: Floats) -> tuple[Floats, Floats]:
        """Return CPU utilisation and GPU duty cycle, [draws] each, at that many messages a second."""
        each = np.where(self.ready > 0, done / np.maximum(self.ready, 1.0), 0.0)
        return self._replica.cpu_at(each), self._replica.gpu_at(each)

    def observe(self, record: int, now: float, done: Floats, backlog: Floats, *, calling: Flags) -> None:
        """Take note of a record, and let the autoscaler decide where it is time."""
        cpu, gpu = self.utilization(done)
        self._means.add(np.stack([cpu, gpu, done]))
        self._calling |= calling
        if self._settings.scale_to_zero:
            woken = calling & (self.ready == 0) & (self._starts.pending == 0)
            if woken.any():
                self._apply(record, self._autoscaler.called_at_zero(now, woken))
        if now + 1e-9 < self._next:
            return
        self._next += CYCLE_S
        means = self._means.take(np.ones(len(done), dtype=np.bool_))
        signals = ReplicaSignals(self.ready, means[0], means[1], means[2], backlog, self._calling)
        self._calling = np.zeros_like(self._calling)
        self._apply(record, self._autoscaler.decide(now, signals))

    def _apply(self, record: int, wanted: Floats) -> None:
        for draw in np.flatnonzero(wanted != self.ready + self._starts.pending).tolist():
            there = self.ready[draw] + self._starts.pending[draw]
            if wanted[draw] > there:
                delays = np.full(round(wanted[draw] - there), self._delay[draw] / self._record_s)
                self._starts.ask(record, draw, delays)
            else:
                self._starts.cancel(record, draw, max(wanted[draw] - self.ready[draw], 0.0))
                self.ready = self.ready.copy()
                self.ready[draw] = min(self.ready[draw], wanted[draw])


class _Means:
    """Means of several quantities since each draw's last decision."""

    def __init__(self, draws: int) -> None:
        self._sums: Floats | None = None
        self._counts = np.zeros(draws)

    def add(self, values: Floats) -> None:
        """Add [quantities, draws]."""
        self._sums = values if self._sums is None else self._sums + values
        self._counts += 1

    def take(self, due: Flags) -> Floats:
        """Return the means, [quantities, draws], and begin anew in the draws that are due."""
        assert self._sums is not None
        means = self._sums / np.maximum(self._counts, 1)
        self._sums = np.where(due, 0.0, self._sums)
        self._counts[due] = 0
        return means


def _groups(quantiles: Sequence[float]) -> tuple[Floats, Floats]:
    """Return sizes and means of the parts of a standard normal distribution between quantiles, [groups] each.

    Between z and y the mean is (f(z) - f(y)) / size, with f the density.
    """
    normal = NormalDist()
    density = np.array([normal.pdf(normal.inv_cdf(each)) if 0 < each < 1 else 0.0 for each in quantiles])
    sizes = np.diff(quantiles)
    return sizes, np.asarray(-np.diff(density) / sizes)
