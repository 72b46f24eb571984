"""One replica of the container: processes, batches across connections, and what its CPU shows."""

from __future__ import annotations

import numpy as np
import pytest

from planner.kernel.replica import Replica, ReplicaPoint, closed_loop, open_loop
from planner.kernel.simulation import evenly
from planner.kernel.worker import AcrossBundles, CallTime, OnGpu

# The default target of Vertex AI's autoscaler.
TARGET = 0.60
TIME = CallTime(0.0015, 0.0001)


def loaded(processes: int) -> ReplicaPoint:
    return closed_loop(Replica(4, TIME, processes, call_s=0.0003), 64, 1, 10_000, 1)


def test_a_single_process_on_four_cores_never_fires_the_autoscaler() -> None:
    assert loaded(1).cpu < TARGET
    # Nothing more comes of more callers: it is full.
    more = closed_loop(Replica(4, TIME, 1, call_s=0.0003), 256, 1, 20_000, 1)
    assert more.cpu < TARGET
    assert more.done < 1.15 * loaded(1).done


def test_a_process_for_each_core_does() -> None:
    assert loaded(4).cpu > TARGET
    assert loaded(4).done > 1.8 * loaded(1).done


def test_a_lone_caller_waits_for_nobody() -> None:
    found = closed_loop(Replica(4, TIME, 1, call_s=0.0004, way_s=0.001), 1, 1, 1000, 1)
    assert found.latency_s == pytest.approx(0.001 + 0.0004 + 0.0016)
    assert found.done == pytest.approx(1 / 0.003, rel=0.01)
    assert found.batch_size == 1.0
    assert found.duty_cycle == 0.0


def test_calls_of_many_connections_meet_in_batches() -> None:
    found = closed_loop(Replica(4, TIME, 1), 32, 1, 5000, 1)
    assert found.batch_size > 16
    limited = closed_loop(Replica(4, TIME, 1, AcrossBundles(max_batch_size=4)), 32, 1, 5000, 1)
    assert limited.batch_size <= 4


def test_calls_by_themselves() -> None:
    replica = Replica(4, CallTime(0.005, 0.0), 1, device=OnGpu())
    found = open_loop(replica, evenly(100, 20), 3, 1)
    assert found.done == pytest.approx(100, rel=0.01)
    assert found.batch_size == 3.0
    assert np.median(found.latency_s) == pytest.approx(0.005)
    assert found.cpu == 0.0
    assert found.duty_cycle == pytest.approx(0.5, rel=0.01)


def test_same_seed_same_bytes() -> None:
    replica = Replica(4, CallTime(0.001, 0.0001, 0.5), 2, call_s=0.0003)
    one, other = (closed_loop(replica, 16, 1, 2000, 3) for _ in range(2))
    assert one.latency_s.tobytes() == other.latency_s.tobytes()
