"""Systems to search whose boundary is known."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from benchmarks.search.queues import mm1, mm1_limit
from loadtest.search.objectives import Figure, Tier
from loadtest.search.probes import Observation, Probe
from loadtest.statistics.percentiles import interval, quantile
from loadtest.statistics.stability import Stability, detectable_overload, judge

P99_S = 0.05
TIER = Tier.parse("p99<50ms")
SERVICE_RATE = 1000.0
# Of a queue that starts empty: at a load of 0.91 it forgets that in under half a second.
_WARM_UP_S = 2.0
# Standard deviation of ln p99 where no queue makes it: about that of a probe of 60,000 messages.
_NOISE = 0.1

Measure = Callable[[Probe, int], Observation]


@dataclass(frozen=True)
class System:
    """A system to search.

    Attributes:
        name: Of its row in the table.
        limit: The boundary, messages a second.
        measure: Makes a probe, with the seed of the search.
    """

    name: str
    limit: float
    measure: Measure


def queue(service_rate: float) -> System:
    """Return an M/M/1 queue; p99 = ln(100) / (service_rate - rate) is its closed form.

    Args:
        service_rate: What its server can do, 1/s.
    """

    def measure(probe: Probe, seed: int) -> Observation:
        end = _WARM_UP_S + probe.seconds
        served = mm1(probe.rate, service_rate, end, seed * 1000 + probe.seed)
        latency = served.latency[served.arrived >= _WARM_UP_S]
        found = interval(latency, 0.99)
        error = found.standard_error if found else math.nan
        figures = {"p99": Figure(quantile(latency, 0.99), error)}
        stability = judge(served.arrived, served.left, _WARM_UP_S, end)
        return TIER.observe(probe.rate, figures, len(latency), stability)

    return System(f"M/M/1 of {service_rate:g}/s", mm1_limit(0.99, P99_S, service_rate), measure)


def curve(name: str, limit: float, p99_s: Callable[[float], float], capacity: float = math.inf) -> System:
    """Return a system whose p99 is a function of the rate, with noise.

    Args:
        name: Of its row.
        limit: The boundary.
        p99_s: Seconds, of a rate below the capacity.
        capacity: Above it the backlog grows, and with it the p99.
    """

    def measure(probe: Probe, seed: int) -> Observation:
        n = round(probe.rate * probe.seconds)
        noise = _NOISE * float(np.random.default_rng((seed, probe.seed)).standard_normal())
        growth = max(0.0, 1 - capacity / probe.rate)
        value = p99_s(min(probe.rate, capacity)) * math.exp(noise) + growth * probe.seconds
        stability = Stability(growth * probe.rate, growth, growth <= 0.003, detectable_overload(n))
        return TIER.observe(probe.rate, {"p99": Figure(value, _NOISE * value)}, n, stability)

    return System(name, limit, measure)


QUEUE = queue(SERVICE_RATE)

CLIFFS = (
    curve("5 ms up to a capacity of 900/s", 900.0, lambda rate: 0.005, capacity=900.0),
    curve("20 ms, 200 ms from 900/s on", 900.0, lambda rate: 0.02 if rate <= 900 else 0.2),
)

# Its p99 is 2.2 standard errors below the objective up to the edge: no fit of single probes can tell.
FAINT_CLIFF = curve("40 ms up to a capacity of 900/s", 900.0, lambda rate: 0.04, capacity=900.0)

# A latency objective is missed in a band below the capacity: at low rates, as with batch windows; or in
# between.
NOT_MONOTONE = (
    curve(
        "150 ms under 600/s, then 10 ms", 9000.0, lambda rate: 0.15 if rate < 600 else 0.01, capacity=9000.0
    ),
    curve(
        "150 ms from 600 to 2,400/s, else 10 ms",
        600.0,
        lambda rate: 0.15 if 600 <= rate <= 2400 else 0.01,
        capacity=30_000.0,
    ),
)
