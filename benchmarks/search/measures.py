"""What `benchmarks.search` measures: the search and the verdicts that it rests on, against the truth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from benchmarks.search.queues import SlowStart, mm1, mm1_quantile
from benchmarks.search.systems import System
from loadtest.search.answer import Boundary, Settings
from loadtest.search.boundary import BoundarySearch
from loadtest.search.probes import Observation, Probe
from loadtest.statistics.percentiles import interval, quantile
from loadtest.statistics.stability import ENOUGH, backlog, judge
from loadtest.statistics.warm_up import cut_seconds

Made = list[tuple[Probe, Observation]]

_WARM_UP = 10_000  # messages before a window, of queues that start empty


@dataclass(frozen=True)
class Searches:
    """Searches of one system, one a seed.

    Attributes:
        system: Its name.
        limit: Its boundary, messages a second.
        off: The start over the limit.
        errors: Of each claim: claim / limit - 1; NaN where nothing was confirmed.
        probes: Of each.
        held: Searches whose interval (of a cliff: bracket) holds the limit.
        cliffs: Searches that call it a cliff.
        flagged: Searches that call it not monotone.
        converged: Searches that did all steps.
    """

    system: str
    limit: float
    off: float
    errors: list[float]
    probes: list[int]
    held: int
    cliffs: int
    flagged: int
    converged: int


def search(system: System, settings: Settings, seed: int) -> tuple[Made, Boundary]:
    """Search a system; return the probes with their observations, and the boundary."""
    searching = BoundarySearch(settings)
    made: Made = []
    while probe := searching.next():
        observation = system.measure(probe, seed)
        searching.observe(probe, observation)
        made.append((probe, observation))
    return made, searching.boundary()


def searches(system: System, off: float, seeds: int, probe_max_s: float = 600.0) -> Searches:
    """Search a system once for each seed, from a start that is `off` times its limit."""
    settings = Settings(off * system.limit, probe_max_s=probe_max_s, budget_s=1e6)
    found = [search(system, settings, seed)[1] for seed in range(seeds)]
    return Searches(
        system.name,
        system.limit,
        off,
        [one.claim / system.limit - 1 if one.claim else float("nan") for one in found],
        [one.probes for one in found],
        sum(one.ci is not None and one.ci[0] <= system.limit <= one.ci[1] for one in found),
        sum(one.kind == "cliff" for one in found),
        sum(bool(one.non_monotone_warning) for one in found),
        sum(one.converged for one in found),
    )


def called_unstable(load: float, seeds: int) -> int:
    """Return in how many M/M/1 queues of a load the backlog is called growing, by 60,000 messages each."""
    unstable = 0
    for seed in range(seeds):
        queue = mm1(1000 * load, 1000, 1.02 * (ENOUGH + _WARM_UP) / (1000 * load), seed)
        start, end = queue.arrived[_WARM_UP], queue.arrived[_WARM_UP + ENOUGH]
        unstable += not judge(queue.arrived, queue.left, start, end).stable
    return unstable


def coverage(load: float, q: float, messages: int, seeds: int) -> float:
    """Return the share of M/M/1 queues of a load whose interval of the q-quantile holds its closed form."""
    truth = mm1_quantile(q, 1000 * load, 1000)
    held = 0
    for seed in range(seeds):
        queue = mm1(1000 * load, 1000, 1.02 * (messages + _WARM_UP) / (1000 * load), seed)
        found = interval(queue.latency[_WARM_UP : _WARM_UP + messages], q)
        held += found is not None and found.low <= truth <= found.high
    return held / seeds


def moved_by_slow_minute(load: float, factor: float, seconds: int, seeds: int) -> tuple[float, int]:
    """Return by how much a slow first minute moves the p99, at most, and in how many runs it was steady.

    The p99 after the cut is held against that of the same queue without the slow minute in the same window.
    Runs that are not called steady are left out.
    """
    moved = [0.0]
    steady = 0
    for seed in range(seeds):
        slow, plain = (
            mm1(1000 * load, 1000, seconds, seed, start) for start in (SlowStart(60, factor), None)
        )
        at = np.arange(1.0, seconds + 1)
        each = np.split(slow.latency, np.searchsorted(slow.left, at))[:seconds]
        p50 = np.array([np.median(one) if len(one) else np.nan for one in each])
        rate = np.array([len(one) for one in each], dtype=np.float64)
        cut = cut_seconds(p50, rate, backlog(slow.arrived, slow.left, at), floor_s=10)
        if cut.steady:
            steady += 1
            with_, without = (quantile(one.latency[one.arrived >= cut.index], 0.99) for one in (slow, plain))
            moved.append(abs(with_ / without - 1))
    return max(moved), steady
