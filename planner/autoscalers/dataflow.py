"""Dataflow's streaming autoscaler: when it adds workers, when it takes them away, and to how many it goes.

The law is that of Google's own talk, as a Beam blog of December 2023 gives it: up, if the backlog is high or
the CPU is busy, to W (growth + throughput) / throughput + W backlog time / time to clear it; down, if there
is neither, in proportion to the CPU. Numbers come from Google's pages, old and new; what none of them has is
in `planner.unknowns`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from planner.draws import Draws

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

# Google's page on tuning: the default hint, and the maximum of a job with Streaming Engine.
DEFAULT_HINT = 0.8
DEFAULT_MAX_WORKERS = 100
# After a downscale workers are to stand at 75 % CPU (troubleshoot-autoscaling), at the default hint of 80 %;
# of another hint the same part is taken, which is our inference.
_DOWN_PART = 0.75 / DEFAULT_HINT
# A share just above a whole number of workers is rounding.
_ROUNDING = 1e-9


class LatencyTier(StrEnum):
    """How much backlog a job may have; Google names the tiers, and publishes no seconds."""

    LOW = "low-latency"
    MEDIUM = "medium-latency"
    HIGH = "high-latency"


_TRIGGERS = {
    LatencyTier.LOW: "low_latency_trigger_s",
    LatencyTier.MEDIUM: "backlog_trigger_s",
    LatencyTier.HIGH: "high_latency_trigger_s",
}


@dataclass(frozen=True)
class ScheduledRange:
    """A range of workers for a part of the time, in the place of the job's own.

    Attributes:
        start_s: Seconds after the start of the run.
        duration_s: Seconds.
        min_workers: Fewest then.
        max_workers: Most then.
        utilization_hint: Then; None for the job's.
        every_s: Seconds after which it comes again, such as 86,400; None for once.
        priority: Of two that hold at once, the higher one counts.
    """

    start_s: float
    duration_s: float
    min_workers: int
    max_workers: int
    utilization_hint: float | None = None
    every_s: float | None = None
    priority: int = 0

    def holds(self, now: float) -> bool:
        """Return whether it holds at a time."""
        since = now - self.start_s
        if self.every_s is not None and since >= 0:
            since %= self.every_s
        return 0 <= since < self.duration_s


@dataclass(frozen=True)
class DataflowSettings:
    """The knobs of Google's pages, as the launch commands name them.

    Attributes:
        min_workers: Fewest.
        max_workers: Most.
        num_workers: To begin with; None for the fewest.
        utilization_hint: CPU utilisation to aim at, 0.1 to 0.9.
        parallelism_hint: `--max_active_bundles_per_worker`: the autoscaler then goes by the bundles that a
            worker has open, and no longer by its CPU. None without.
        bundle_threads: Bundles that a worker works on at once at most: threads x processes.
        keys: Keys of the job, which bound the bundles at once; None for as many as wanted.
        latency_tier: How much backlog it may have.
        throttling_counter: Whether the job reports the time for which it is throttled.
        gpu: Whether workers have GPUs, and so start later.
        schedules: Ranges for parts of the time.
    """

    min_workers: int = 1
    max_workers: int = DEFAULT_MAX_WORKERS
    num_workers: int | None = None
    utilization_hint: float = DEFAULT_HINT
    parallelism_hint: int | None = None
    bundle_threads: int = 12
    keys: int | None = None
    latency_tier: LatencyTier = LatencyTier.MEDIUM
    throttling_counter: bool = True
    gpu: bool = False
    schedules: Sequence[ScheduledRange] = ()

    def __post_init__(self) -> None:
        ranges = [(self.min_workers, self.max_workers)]
        ranges += [(each.min_workers, each.max_workers) for each in self.schedules]
        for fewest, most in ranges:
            if not 1 <= fewest <= most:
                raise ValueError(f"{fewest} to {most} is no range of workers: take 1 ≤ fewest ≤ most")
        if not 0.1 <= self.utilization_hint <= 0.9:
            raise ValueError(f"a utilisation hint of {self.utilization_hint:g} is not from 0.1 to 0.9")

    @property
    def initial(self) -> int:
        """Workers that it begins with."""
        wanted = self.min_workers if self.num_workers is None else self.num_workers
        return min(max(wanted, self.min_workers), self.max_workers)

    @property
    def useful_workers(self) -> float:
        """Workers beyond which there is no key left for one more."""
        if self.keys is None:
            return float("inf")
        return float(max(-(-self.keys // (self.parallelism_hint or 1)), 1))

    def at(self, now: float) -> tuple[int, int, float]:
        """Return fewest, most and hint at a time."""
        holding = [each for each in self.schedules if each.holds(now)]
        if not holding:
            return self.min_workers, self.max_workers, self.utilization_hint
        first = max(holding, key=lambda each: each.priority)
        return first.min_workers, first.max_workers, first.utilization_hint or self.utilization_hint


@dataclass(frozen=True, eq=False)
class WorkerSignals:
    """What the autoscaler looks at, each [draws], means since its last decision.

    Attributes:
        workers: Ready at the moment.
        arriving: Messages a second that came.
        done: Messages a second that were answered.
        backlog: Messages that wait at the moment.
        cpu: Utilisation of the workers' vCPUs, 0 to 1.
        occupied: Share of the bundle threads at work, 0 to 1.
        throttled: Share of the time for which calls were held back, 0 to 1.
    """

    workers: Floats
    arriving: Floats
    done: Floats
    backlog: Floats
    cpu: Floats
    occupied: Floats
    throttled: Floats


@dataclass(frozen=True, eq=False)
class Wish:
    """What the law says of one moment, before range, stability and damping.

    Attributes:
        up: [draws] whether it asks for more workers.
        more: [draws] how many there should then be.
        down: [draws] whether it asks for fewer.
        fewer: [draws] how many there should then be.
    """

    up: Flags
    more: Floats
    down: Flags
    fewer: Floats


def law(signals: WorkerSignals, settings: DataflowSettings, hint: float, draws: Draws) -> Wish:
    """Apply the published law to the signals of one moment."""
    workers, done = signals.workers, signals.done
    flowing = done > 0
    rate = np.where(flowing, done, 1.0)
    backlog_s = np.where(flowing, signals.backlog / rate, np.where(signals.backlog > 0, np.inf, 0.0))
    if settings.parallelism_hint is None:
        busy = signals.cpu
    else:
        busy = signals.occupied * settings.bundle_threads / settings.parallelism_hint
    held = (signals.throttled > draws["throttled_share"]) & settings.throttling_counter
    backlogged = (backlog_s > draws[_TRIGGERS[settings.latency_tier]]) & (busy > draws["cpu_floor"])
    by_rate = workers * np.where(flowing, np.maximum(signals.arriving / rate, 1.0), 1.0)
    by_backlog = workers * np.where(backlogged, backlog_s / draws["clear_backlog_in_s"], 0.0)
    by_cpu = workers * busy / hint
    down_at = hint * _DOWN_PART
    return Wish(
        up=(backlogged | (busy > hint)) & ~held & flowing,
        more=_whole(np.maximum(by_rate + by_backlog, by_cpu)),
        down=(busy < down_at) & (signals.arriving <= 1.01 * done) & (backlog_s < draws["down_backlog_s"]),
        fewer=_whole(workers * busy / down_at),
    )


class DataflowAutoscaler:
    """Decides on the workers of a job, for all draws at once."""

    def __init__(self, settings: DataflowSettings, draws: Draws) -> None:
        """Begin with the initial workers as the target; the first decision comes after a period."""
        self.settings = settings
        self.target = np.full(draws.count, float(settings.initial))
        """[draws] workers that it has asked for."""
        self.next_decision = draws["decision_period_s"].copy()
        """[draws] seconds: when it decides next."""
        self._draws = draws
        self._up_since = np.full(draws.count, np.inf)
        self._down_since = np.full(draws.count, np.inf)

    def decide(self, now: float, due: Flags, signals: WorkerSignals, pending: Floats) -> Floats:
        """Return the workers to have, [draws], and remember them as the target.

        Args:
            now: Seconds after the start.
            due: [draws] for which of them it is time; the others keep their target.
            signals: Of this moment.
            pending: [draws] workers that have been asked for and are not ready.
        """
        draws = self._draws
        fewest, most, hint = self.settings.at(now)
        wish = law(signals, self.settings, hint, draws)
        self.next_decision = np.where(due, now + draws["decision_period_s"], self.next_decision)
        self._up_since = _since(self._up_since, wish.up, due, now)
        self._down_since = _since(self._down_since, wish.down & (pending == 0), due, now)
        wanted = self.target.copy()
        up = due & (now - self._up_since >= draws["stable_for_s"])
        step = np.maximum((wish.more - self.target) * draws["damping"], 0.0)
        wanted = np.where(up, self.target + _whole(step), wanted)
        wanted = np.minimum(wanted, np.maximum(self.settings.useful_workers, self.target))
        down = due & ~up & (now - self._down_since >= draws["stable_for_s"])
        wanted = np.where(down, np.minimum(wish.fewer, self.target), wanted)
        wanted = np.where(due, np.clip(wanted, fewest, most), self.target)
        changed = wanted != self.target
        self._up_since[changed] = np.inf
        self._down_since[changed] = np.inf
        self.target = wanted
        return wanted


def _since(since: Floats, holds: Flags, due: Flags, now: float) -> Floats:
    """Return when each signal began to hold without a break; infinity where it does not."""
    return np.where(due, np.where(holds, np.minimum(since, now), np.inf), since)


def _whole(workers: Floats) -> Floats:
    return np.ceil(workers - _ROUNDING)
