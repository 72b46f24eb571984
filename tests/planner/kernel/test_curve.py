"""A worker's curve: what stands between its points."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from planner.kernel.curve import WorkerCurve, WorkerPoint, worker_curve
from planner.kernel.worker import (
    LOCAL_ENGINE,
    AcrossBundles,
    Bundles,
    CallTime,
    ModelInWorker,
    OnGpu,
    WithinBundle,
    Worker,
)


def point(offered: float, done: float, latency: float, **others: float) -> WorkerPoint:
    values = {"batch_size": 1.0, "cpu": 0.5, "throttled": 0.0} | others
    return WorkerPoint(offered, done, latency_s=np.array([latency, 2 * latency]), **values)


CURVE = WorkerCurve(
    (
        point(10.0, 10.0, 0.1, cpu=0.2),
        point(20.0, 20.0, 0.3, batch_size=5.0, cpu=0.6),
        point(40.0, 25.0, 9.0),
    ),
    22.0,
)


def test_between_two_loads() -> None:
    found = CURVE.at(15.0)
    assert (found.offered, found.done) == (15.0, 15.0)
    assert found.batch_size == pytest.approx(3.0)
    assert found.cpu == pytest.approx(0.4)
    assert found.latency_s == pytest.approx([0.2, 0.4])


def test_at_a_load_of_its_own() -> None:
    found = CURVE.at(20.0)
    assert found.done == 20.0
    assert found.batch_size == pytest.approx(5.0)
    assert found.latency_s == pytest.approx([0.3, 0.6])


def test_no_more_is_done_than_is_offered() -> None:
    curve = WorkerCurve((point(10.0, 10.1, 0.1), point(20.0, 20.2, 0.1)), 20.0)
    assert curve.at(15.0).done == 15.0


def test_below_the_first_load() -> None:
    found = CURVE.at(1.0)
    assert found.done == pytest.approx(1.0)
    assert found.cpu == pytest.approx(0.02)
    assert found.latency_s.tolist() == CURVE.points[0].latency_s.tolist()


def test_beyond_the_last_load() -> None:
    found = CURVE.at(100.0)
    assert (found.offered, found.done) == (100.0, 25.0)


def test_nothing_offered() -> None:
    assert CURVE.at(0.0).done == 0.0


# Batches of at most 100 in 10 ms + 0.1 ms x 100: 5,000 messages a second.
BATCHED = Worker(2, ModelInWorker(CallTime(0.01, 0.0001), AcrossBundles(100)), bundles=LOCAL_ENGINE)


def test_capacity_is_that_of_full_batches() -> None:
    assert worker_curve(BATCHED, 1, 2000).capacity == pytest.approx(5000, rel=0.01)


def test_capacity_is_without_the_pauses_of_low_rates() -> None:
    time = CallTime(0.01, 0.0001, slow_down=((10.0, 6.0), (1000.0, 1.0)))
    worker = Worker(2, ModelInWorker(time, AcrossBundles(100)), bundles=LOCAL_ENGINE)
    assert worker_curve(worker, 1, 2000).capacity == pytest.approx(5000, rel=0.01)


def test_points_rise_to_beyond_capacity() -> None:
    curve = worker_curve(BATCHED, 1, 2000)
    offered = [one.offered for one in curve.points]
    assert 12 <= len(offered) <= 20
    assert offered == sorted(offered)
    assert offered[0] < 0.1 * curve.capacity < curve.capacity < offered[-1]
    for one in curve.points:
        assert one.done <= one.offered
        assert 0 <= one.cpu <= 1
        assert (np.diff(one.latency_s) >= 0).all()
        assert len(one.latency_s) == len(curve.points[0].latency_s)
    below = [one for one in curve.points if one.offered < 0.99 * curve.capacity]
    assert all(one.done == one.offered for one in below)
    assert curve.points[-1].done == pytest.approx(curve.capacity, rel=0.02)


def test_batches_grow_with_the_load() -> None:
    sizes = [one.batch_size for one in worker_curve(BATCHED, 1, 2000).points if one.offered < 5000]
    assert all(after > 0.9 * before for before, after in pairwise(sizes))
    assert sizes[-1] > 10 * sizes[0]


def test_latencies_of_an_overload_are_those_of_its_first_minute() -> None:
    # Half as much again as it does: the last message of a minute waits for half a minute.
    last = worker_curve(BATCHED, 1, 2000).points[-1]
    assert last.offered == pytest.approx(1.5 * 5000, rel=0.01)
    assert last.latency_s[-1] == pytest.approx(30, rel=0.05)


def test_capacity_where_the_service_forms_the_bundles() -> None:
    # Fifty bundles a second of 10 ms and 5 ms a message: half of its time, and the other half for 100.
    bundles = Bundles(threads=12, max_messages=1000, gather_s=0.02)
    worker = Worker(4, ModelInWorker(CallTime(0.01, 0.005), WithinBundle(1000), OnGpu()), bundles=bundles)
    curve = worker_curve(worker, 1, 2000)
    assert curve.capacity == pytest.approx(100, rel=0.03)
    # Beyond, it does more than its capacity: the same bundles are larger.
    assert curve.points[-1].done > 1.1 * curve.capacity


def test_same_seed_same_bytes() -> None:
    def everything(seed: int) -> bytes:
        worker_curve.cache_clear()
        curve = worker_curve(BATCHED, seed, 1000)
        return b"".join(one.latency_s.tobytes() for one in curve.points) + repr(curve.capacity).encode()

    assert everything(3) == everything(3)
    assert everything(3) != everything(4)
