"""A worker's curve: what stands between its points."""

from __future__ import annotations

import numpy as np
import pytest

from planner.kernel.curve import WorkerCurve, WorkerPoint


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
    assert (found.done, found.batch_size) == (20.0, pytest.approx(5.0))
    assert found.latency_s == pytest.approx([0.3, 0.6])


def test_no_more_is_done_than_is_offered() -> None:
    curve = WorkerCurve((point(10.0, 10.1, 0.1), point(20.0, 20.2, 0.1)), 20.0)
    assert curve.at(15.0).done == 15.0


def test_below_the_first_load() -> None:
    found = CURVE.at(1.0)
    assert (found.done, found.cpu) == (pytest.approx(1.0), pytest.approx(0.02))
    assert found.latency_s.tolist() == CURVE.points[0].latency_s.tolist()


def test_beyond_the_last_load() -> None:
    found = CURVE.at(100.0)
    assert (found.offered, found.done) == (100.0, 25.0)


def test_nothing_offered() -> None:
    assert CURVE.at(0.0).done == 0.0
