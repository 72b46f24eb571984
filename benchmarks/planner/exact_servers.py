"""An exact simulation of several servers with one queue, against which the fluid layer is held."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from planner.autoscalers.dataflow import DataflowSettings
from planner.capacity import Capacity
from planner.delays import latencies
from planner.draws import draw
from planner.fluid import Job, simulate
from planner.workload import parse_workload

Floats = NDArray[np.float64]

# A service law of time(batch) = a + b x batch.
_A_S, _B_S, _BATCH = 0.05, 0.012, 16


def delays_of_servers(rate: float, seconds: float, servers: int, batch: int, a: float, b: float) -> Floats:
    """Return the delay of each message, [n] seconds: a free server takes what waits, up to a batch.

    Args:
        rate: Messages a second, evenly spaced.
        seconds: For so long.
        servers: How many.
        batch: Messages that one takes at once, at most.
        a: Seconds of a batch.
        b: Seconds more for each message of it.
    """
    arrivals = np.arange(int(rate * seconds)) / rate
    free = [0.0] * servers
    left = np.empty(len(arrivals))
    first = 0
    while first < len(arrivals):
        now = max(heapq.heappop(free), float(arrivals[first]))
        size = min(int(np.searchsorted(arrivals, now, side="right")) - first, batch)
        done = now + a + b * size
        left[first : first + size] = done
        heapq.heappush(free, done)
        first += size
    return np.asarray(left - arrivals)


@dataclass(frozen=True)
class OverloadRow:
    """One overload, by events and by the fluid layer; delays in seconds.

    Attributes:
        servers: How many.
        overload: Offered, as a multiple of their capacity.
    """

    servers: int
    overload: float
    exact_mean: float
    fluid_mean: float
    exact_p50: float
    fluid_p50: float
    exact_p99: float
    fluid_p99: float

    def as_json(self) -> dict[str, float]:
        """Return it for a file of results."""
        return asdict(self)


def overload_rows(
    servers: Sequence[int] = (5, 50, 500), overloads: Sequence[float] = (1.1, 1.3, 2.0), seconds: float = 60.0
) -> list[OverloadRow]:
    """Return a row for each number of servers and each overload, of so many seconds before it drains."""
    time = _A_S + _B_S * _BATCH
    capacity = _BATCH / time
    worker = Capacity.of_points([capacity], [capacity], [0.9], [[time]])
    rows = []
    for count in servers:
        job = Job(worker, DataflowSettings(min_workers=count, max_workers=count))
        alike = draw(1, fixed={"worker_skew": 0.0, "worker_start_spread": 0.0})
        for overload in overloads:
            rate = overload * capacity * count
            exact = delays_of_servers(rate, seconds, count, _BATCH, _A_S, _B_S)
            drained = seconds * (overload - 1) + 5
            timeline = simulate(parse_workload(f"constant {rate} {seconds:g}s"), job, alike, after_s=drained)
            found = latencies(timeline, job).seconds
            rows.append(
                OverloadRow(
                    count, overload, float(exact.mean()), float(found.mean()),
                    *(
                        float(np.percentile(delays, percent))
                        for percent in (50, 99)
                        for delays in (exact, found)
                    ),
                )
            )  # fmt: skip
    return rows
