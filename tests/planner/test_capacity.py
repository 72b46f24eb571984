from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from planner.capacity import Capacity, Floats


@dataclass(frozen=True)
class OnePoint:
    offered: float
    done: float
    cpu: float
    latency_s: Floats


@dataclass(frozen=True)
class OneCurve:
    points: tuple[OnePoint, ...]
    capacity: float


def test_a_curve_becomes_arrays() -> None:
    times = np.array([0.01, 0.02])
    curve = OneCurve((OnePoint(50, 50, 0.4, times), OnePoint(110, 99, 0.8, times + 1)), 100.0)
    worker = Capacity.of(curve, gpu=[0.2, 0.5])
    assert worker.done_at(np.array([25, 50, 110, 1_000])).tolist() == [25, 50, 99, 100]
    assert worker.gpu_at(np.array([50.0])).tolist() == [0.2]
    assert worker.latencies(np.array([50.0, 110.0]), np.zeros(2)).tolist() == [0.01, 1.01]
    with pytest.raises(ValueError, match="as many values of each kind"):
        Capacity.of(curve, gpu=[0.2])


def measured() -> Capacity:
    return Capacity.of_points(
        [50, 75, 100, 150],
        [49.9, 75, 95.3, 123],
        [0.3, 0.45, 0.6, 0.7],
        [[0.04, 0.05], [0.05, 0.06], [4.0, 5.0], [9.0, 9.5]],
        capacity=130,
    )


def test_what_keeps_up_does_all_and_overload_does_more() -> None:
    worker = measured()
    assert worker.done_at(np.array([0, 25, 50, 75])).tolist() == [0, 25, 50, 75]
    assert worker.done_at(np.array([100, 150])).tolist() == [95.3, 123]
    assert worker.done_at(np.array([1e6])).tolist() == [130]
    assert worker.most == 130
    assert worker.kept_up == 75


def test_utilisation_goes_by_what_is_done() -> None:
    assert measured().cpu_at(np.array([0.0, 50, 123, 500])).tolist() == pytest.approx([0, 0.3, 0.7, 0.7])
    assert measured().gpu_at(np.array([50.0])).tolist() == [0]


def test_latencies_are_those_of_the_nearest_load() -> None:
    found = measured().latencies(np.array([10.0, 62, 63, 90, 400]), np.array([0.0, 0.9, 0.0, 0.6, 1.0]))
    assert found.tolist() == [0.04, 0.05, 0.05, 5.0, 9.5]


def test_done_never_falls_with_the_load() -> None:
    worker = Capacity.of_points([10, 20, 30], [10, 18, 15], [0.1, 0.2, 0.3], [[1], [1], [1]])
    assert worker.done_at(np.array([20, 30, 90])).tolist() == [18, 18, 18]


def test_a_worker_that_never_keeps_up() -> None:
    assert Capacity.of_points([10, 20], [8, 15], [0.1, 0.2], [[1], [1]]).kept_up == 8


@pytest.mark.parametrize(
    ("offered", "done", "said"),
    [([], [], "at least one load"), ([1, 2], [1], "at least one load"), ([2, 1], [2, 1], "must rise")],
)
def test_a_capacity_that_makes_no_sense_is_refused(
    offered: list[float], done: list[float], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        Capacity.of_points(offered, done, [0.1] * len(offered), [[0.1]] * len(offered))
