from __future__ import annotations

import math

import numpy as np
import pytest

from benchmarks.search.queues import mm1, mm1_quantile
from loadtest.statistics.percentiles import Guard, effective_n, guard, interval, least_samples, quantile


def test_a_quantile_interpolates_between_order_statistics() -> None:
    assert quantile(np.array([4.0, 1.0, 3.0, 2.0]), 0.5) == 2.5


def test_a_quantile_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="window holds messages"):
        quantile(np.empty(0), 0.5)


@pytest.mark.parametrize(("q", "least"), [(0.9, 64), (0.95, 130), (0.99, 662), (0.999, 6636)])
def test_the_least_samples_are_those_of_the_early_stopping_table(q: float, least: int) -> None:
    assert least_samples(q) == least


@pytest.mark.parametrize(
    ("n", "q", "verdict"),
    [
        (6_635, 0.999, "refused"),
        (6_636, 0.999, "diagnostic"),
        (99_999, 0.999, "diagnostic"),
        (100_000, 0.999, "ok"),
        (661, 0.99, "refused"),
        (662, 0.99, "ok"),
        (0, 0.5, "refused"),
    ],
)
def test_the_guard(n: int, q: float, verdict: Guard) -> None:
    assert guard(n, q) == verdict


def test_independent_values_count_each() -> None:
    n = 20_000
    assert effective_n(np.random.default_rng(1).normal(size=n)) == pytest.approx(n, rel=0.05)
    assert effective_n(np.ones(30)) == 30


def test_correlated_values_count_less() -> None:
    noise = np.random.default_rng(1).normal(size=50_000)
    series = np.zeros_like(noise)
    for i in range(1, len(noise)):
        series[i] = 0.8 * series[i - 1] + noise[i]
    assert effective_n(series) == pytest.approx(len(series) / 9, rel=0.1)  # (1 - 0.8) / (1 + 0.8)


@pytest.mark.parametrize(("load", "q", "least"), [(0.5, 0.99, 0.9), (0.8, 0.5, 0.9), (0.8, 0.99, 0.88)])
def test_the_interval_holds_the_truth(load: float, q: float, least: float) -> None:
    truth = mm1_quantile(q, 1000 * load, 1000)
    held = 0
    for seed in range(100):
        found = interval(mm1(1000 * load, 1000, 30 / load, seed).latency, q)
        assert found is not None
        held += found.low <= truth <= found.high
    assert held / 100 >= least


def test_an_end_that_the_values_leave_open_is_infinite() -> None:
    # All values beyond the p99 come together, in one block: another such burst was as likely to come twice.
    values = np.ones(2_000)
    values[:21] = np.arange(10.0, 31.0)
    found = interval(values, 0.99)
    assert found is not None
    assert math.isinf(found.high)
    assert found.low == 1


def test_too_few_values_have_no_interval() -> None:
    assert interval(np.arange(19.0), 0.5) is None
