from __future__ import annotations

import math

import numpy as np
import pytest

from benchmarks.search.queues import mm1
from loadtest.statistics.littles_law import check


def test_it_holds_in_a_steady_queue() -> None:
    queue = mm1(800, 1000, 120, 1)
    found = check(queue.arrived, queue.left, 20, 120)
    assert found.holds
    assert found.mean_in_flight == pytest.approx(4, rel=0.1)  # 0.8 / (1 - 0.8)
    assert found.mean_latency_s == pytest.approx(0.005, rel=0.1)


def test_messages_that_are_never_answered_break_it() -> None:
    entered = np.arange(0, 10, 0.01)
    answered = np.where(np.arange(1000) % 100 == 0, math.nan, entered + 0.1)
    found = check(entered, answered, 0, 10)
    assert not found.holds
    assert found.ratio > 1.05


def test_nothing_at_all_holds_and_nothing_answered_does_not() -> None:
    assert check(np.array([math.nan]), np.array([math.nan]), 0, 1).holds
    assert check(np.array([0.0]), np.array([math.nan]), 0, 1).ratio == math.inf


def test_a_window_without_length_is_refused() -> None:
    with pytest.raises(ValueError, match="no length"):
        check(np.array([0.0]), np.array([1.0]), 5, 5)
