from __future__ import annotations

import numpy as np
import pytest

from benchmarks.search.queues import Floats, Served, SlowStart, mm1
from loadtest.statistics.percentiles import quantile
from loadtest.statistics.stability import backlog
from loadtest.statistics.warm_up import Cut, cut_seconds, mser5


def test_mser5_is_its_formula() -> None:
    series = np.random.default_rng(3).normal(size=203) + np.where(np.arange(203) < 33, 4.0, 0.0)
    means = [series[i : i + 5].mean() for i in range(0, 200, 5)]
    errors = [np.sum((means[d:] - np.mean(means[d:])) ** 2) / (40 - d) ** 2 for d in range(21)]
    assert mser5(series) == Cut(5 * int(np.argmin(errors)), steady=True)


def test_a_series_that_never_settles_is_not_steady() -> None:
    assert not mser5(np.arange(100.0)).steady
    assert not mser5(np.ones(19)).steady  # under four groups there is nothing to compare


def test_the_cut_is_the_largest_of_three_and_at_least_the_floor() -> None:
    flat = np.random.default_rng(0).normal(size=200)
    late = flat + np.where(np.arange(200) < 60, 20.0, 0.0)
    assert cut_seconds(flat, late, flat, floor_s=10).index == 60
    assert cut_seconds(np.ones(200), np.ones(200), np.ones(200), floor_s=10) == Cut(10, steady=True)


def test_seconds_without_an_answer_have_no_median() -> None:
    p50 = np.where(np.arange(100) < 30, 3.0, 1.0)
    gaps = p50.copy()
    # Those at the start count as the slowest, one between as the second before it.
    gaps[:20] = gaps[40] = np.nan
    flat = np.ones(100)
    assert (
        cut_seconds(gaps, flat, flat, floor_s=0) == cut_seconds(p50, flat, flat, floor_s=0) == Cut(30, True)
    )
    assert cut_seconds(np.full(100, np.nan), flat, flat, floor_s=0) == Cut(0, steady=True)


def per_second(queue: Served, seconds: int) -> tuple[Floats, Floats, Floats]:
    """Return p50, rate and backlog of each second."""
    at = np.arange(1.0, seconds + 1)
    each = np.split(queue.latency, np.searchsorted(queue.left, at))[:seconds]
    p50 = np.array([np.median(latencies) if len(latencies) else np.nan for latencies in each])
    rate = np.array([len(latencies) for latencies in each], dtype=np.float64)
    return p50, rate, backlog(queue.arrived, queue.left, at)


@pytest.mark.parametrize("factor", [1.2, 1.5])
def test_a_slow_first_minute_moves_the_p99_by_less_than_two_percent(factor: float) -> None:
    for seed in range(5):
        slow = mm1(800, 1000, 600, seed, SlowStart(60, factor))
        cut = cut_seconds(*per_second(slow, 600), floor_s=10)
        assert cut.steady
        p99, without = (
            quantile(queue.latency[queue.arrived >= cut.index], 0.99)
            for queue in (slow, mm1(800, 1000, 600, seed))
        )
        assert p99 == pytest.approx(without, rel=0.02)


def test_a_backlog_that_drains_to_the_end_is_not_steady() -> None:
    queue = mm1(800, 1000, 300, 0, SlowStart(60, 3))
    assert not cut_seconds(*per_second(queue, 300), floor_s=10).steady
