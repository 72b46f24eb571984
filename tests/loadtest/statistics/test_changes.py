from __future__ import annotations

import numpy as np
import pytest

from benchmarks.search.queues import mm1
from loadtest.statistics.changes import cusum, windows
from loadtest.statistics.stability import backlog


@pytest.mark.parametrize("step", [-3.0, 3.0])
def test_a_step_is_found_where_it_is(step: float) -> None:
    for seed in range(20):
        growth = np.random.default_rng(seed).normal(size=100)
        growth[60:] += step
        assert any(abs(change - 60) <= 5 for change in cusum(growth))


def test_a_steady_queue_has_no_change() -> None:
    found = []
    for seed in range(20):
        queue = mm1(800, 1000, 305, seed)
        found += cusum(np.diff(backlog(queue.arrived, queue.left, np.arange(5.0, 305.0))))
    assert not found


def test_a_scaling_event_and_the_end_of_the_backlog_are_two_changes() -> None:
    random = np.random.default_rng(1)
    growth = np.concatenate(
        [200 + 40 * random.normal(size=150), -800 + 40 * random.normal(size=37), random.normal(size=100)]
    )
    assert cusum(growth) == [150, 187]


def test_a_change_that_takes_two_seconds_is_one() -> None:
    growth = np.random.default_rng(2).normal(size=100)
    growth[50] += 30
    growth[51:] += 100
    assert len(cusum(growth)) == 1


def test_nothing_changes_in_a_flat_or_short_series() -> None:
    assert cusum(np.zeros(100)) == []
    assert cusum(np.array([1.0])) == []


def test_no_window_crosses_a_change() -> None:
    assert windows(10, 100, [60, 30, 30, 5, 100]) == [(10, 30), (30, 60), (60, 100)]
    assert windows(0, 5, []) == [(0, 5)]
