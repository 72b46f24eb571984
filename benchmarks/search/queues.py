"""Queues whose truth is known in closed form, computed in arrays."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Served:
    """What one server made of a stream of messages.

    Attributes:
        arrived: [n] seconds, rising.
        left: [n] seconds.
    """

    arrived: Floats
    left: Floats

    @property
    def latency(self) -> Floats:
        """[n] seconds in the system."""
        return self.left - self.arrived


@dataclass(frozen=True)
class SlowStart:
    """A server that is slow at first.

    Attributes:
        seconds: How long; messages that arrive by then are served slowly.
        factor: How many times as long they take.
    """

    seconds: float
    factor: float


def mm1(rate: float, service_rate: float, seconds: float, seed: int, slow: SlowStart | None = None) -> Served:
    """Return an M/M/1 queue that starts empty: Poisson arrivals, exponential service, one server, in order.

    Lindley's recursion, left[i] = max(left[i-1], arrived[i]) + service[i], is a running maximum once the sum
    C of the services is taken off: left[i] = C[i] + max over j <= i of (arrived[j] - C[j-1]).

    Args:
        rate: Arrivals, 1/s.
        service_rate: What the server can do, 1/s.
        seconds: Of arrivals.
        seed: Of arrivals and services.
        slow: What is wrong with its start.
    """
    random = np.random.default_rng(seed)
    n = random.poisson(rate * seconds)
    arrived = np.sort(random.uniform(0.0, seconds, n))
    service = random.exponential(1 / service_rate, n)
    if slow:
        service = np.where(arrived < slow.seconds, service * slow.factor, service)
    served = np.cumsum(service)
    return Served(arrived, served + np.maximum.accumulate(arrived - (served - service)))


def mm1_quantile(q: float, rate: float, service_rate: float) -> float:
    """Return the q-quantile of the time in an M/M/1 system, seconds: -ln(1 - q) / (service_rate - rate)."""
    return -math.log(1 - q) / (service_rate - rate)


def mm1_limit(q: float, latency: float, service_rate: float) -> float:
    """Return the rate at which the q-quantile of an M/M/1 system is a latency (seconds), 1/s."""
    return service_rate + math.log(1 - q) / latency
