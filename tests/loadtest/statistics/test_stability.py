from __future__ import annotations

import math

import numpy as np
import pytest

from benchmarks.search.queues import mm1
from loadtest.statistics.stability import ENOUGH, backlog, backlog_slope, detectable_overload, judge


def verdicts(load: float, seeds: int) -> list[bool]:
    """Return whether each of some M/M/1 queues is called stable, by 60,000 messages after 10,000."""
    found = []
    for seed in range(seeds):
        queue = mm1(1000 * load, 1000, 1.02 * (ENOUGH + 10_000) / 1000 / load, seed)
        window = queue.arrived[10_000], queue.arrived[10_000 + ENOUGH]
        found.append(judge(queue.arrived, queue.left, *window).stable)
    return found


@pytest.mark.slow
def test_an_overload_of_two_percent_is_found_and_a_load_of_95_percent_is_not_called_one() -> None:
    assert not any(verdicts(1.02, 200))
    assert all(verdicts(0.95, 200))


def test_the_backlog_counts_what_came_and_has_not_left() -> None:
    entered, left = np.array([1.0, 0.0, 2.0, math.nan]), np.array([1.5, math.nan, 2.5, math.nan])
    assert backlog(entered, left, np.array([0.0, 1.0, 1.5, 2.0, 9.0])).tolist() == [1, 2, 1, 2, 1]


def test_the_slope_is_what_is_left_over_a_second() -> None:
    entered = 1.79e9 + np.arange(0, 10, 0.01)
    left = np.where(np.arange(1000) % 4 == 0, math.nan, entered)
    assert backlog_slope(entered, left, 1.79e9, 1.79e9 + 10) == pytest.approx(25, rel=0.01)
    found = judge(entered, left, 1.79e9, 1.79e9 + 10)
    assert found.relative == pytest.approx(0.25, rel=0.01)
    assert not found.stable


def test_what_a_window_can_tell_depends_on_its_messages() -> None:
    assert detectable_overload(60_000) == pytest.approx(0.0204, abs=1e-4)
    assert detectable_overload(0) == math.inf
    times = np.arange(0, 10, 0.1)
    assert judge(times, times, 5, 10).detectable_overload == pytest.approx(5 / math.sqrt(50))


def test_windows_that_tell_nothing_are_refused() -> None:
    times = np.arange(0.0, 10.0)
    with pytest.raises(ValueError, match="too short"):
        judge(times, times, 3, 3.5)
    with pytest.raises(ValueError, match="no message is due"):
        judge(times, times, 20, 30)
