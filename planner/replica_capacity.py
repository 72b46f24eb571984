"""What one replica of the container carries, from its simulation at a few loads."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from planner.capacity import Capacity
from planner.kernel.replica import Replica, ReplicaPoint, closed_loop, open_loop
from planner.kernel.simulation import poisson

# Of the capacity.
_LOADS = (0.01, 0.1, 0.3, 0.5, 0.7, 0.85, 0.95)
_QUANTILES = np.linspace(0.0, 1.0, 501)
_CALLS = 1_500
# Callers at once for each process: as many as fill its batches, with others waiting.
_CALLERS = 16


@lru_cache(maxsize=128)
def replica_capacity(replica: Replica, rows: int, seed: int) -> Capacity:
    """Return what a replica carries, in instances a second.

    Args:
        replica: The replica.
        rows: Instances of a call.
        seed: Of arrivals, connections and times of passes.
    """
    full = closed_loop(replica, _CALLERS * replica.processes, rows, _CALLS, seed)
    calls = full.done
    runs: list[ReplicaPoint] = []
    for number, share in enumerate(_LOADS):
        arrived = poisson(share * calls, _CALLS / (share * calls), seed + number)
        runs.append(open_loop(replica, arrived, rows, seed + number))
    loads = [share * calls * rows for share in _LOADS]
    return Capacity.of_points(
        [*loads, calls * rows],
        [*loads, calls * rows],
        [*(run.cpu for run in runs), full.cpu],
        [np.quantile(run.latency_s, _QUANTILES) for run in (*runs, runs[-1])],
        [*(run.duty_cycle for run in runs), full.duty_cycle],
        calls * rows,
    )
