"""Systems to search whose boundary is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.search.queues import mm1, mm1_limit
from loadtest.search.objectives import Figure, Tier
from loadtest.search.probes import Observation, Probe
from loadtest.statistics.percentiles import interval, quantile
from loadtest.statistics.stability import judge

SERVICE_RATE = 1000.0
P99_S = 0.05
TIER = Tier.parse("p99<50ms")
WARM_UP_S = 2.0
"""Of a queue that starts empty: at a load of 0.91 it takes under half a second to forget that."""


@dataclass(frozen=True)
class System:
    """A system to search.

    Attributes:
        name: Of a row of the table.
        limit: The highest rate that meets the objective, 1/s.
        probe: Makes a probe: a function of it and of the seed of the search.
    """

    name: str
    limit: float
    probe: Callable[[Probe, int], Observation]


def _queue(probe: Probe, seed: int, tier: Tier = TIER) -> Observation:
    queue = mm1(probe.rate, SERVICE_RATE, WARM_UP_S + probe.seconds, hash((seed, probe.seed)) % 2**32)
    window = queue.arrived >= WARM_UP_S
    latency = queue.latency[window]
    end = WARM_UP_S + probe.seconds
    found = interval(latency, 0.99)
    figures = {"p99": Figure(quantile(latency, 0.99), found.standard_error if found else float("nan"))}
    stability = judge(queue.arrived, queue.left, WARM_UP_S, end)
    return tier.observe(probe.rate, figures, len(latency), stability)


QUEUE = System("M/M/1, p99 under 50 ms", mm1_limit(0.99, P99_S, SERVICE_RATE), _queue)
