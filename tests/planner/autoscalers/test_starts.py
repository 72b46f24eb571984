from __future__ import annotations

import numpy as np
import pytest

from planner.autoscalers.starts import Starts, start_delays


def taken(starts: Starts, steps: int, since: int = 0) -> list[float]:
    return [float(starts.take(step)[0]) for step in range(since, steps)]


def test_each_is_ready_after_its_delay() -> None:
    starts = Starts(10, 1)
    starts.ask(0, 0, np.array([2.0, 2.4, 5.0]))
    assert starts.pending.tolist() == [3]
    assert taken(starts, 10) == [0, 0, 2, 0, 0, 1, 0, 0, 0, 0]
    assert starts.pending.tolist() == [0]


def test_nobody_is_ready_at_once() -> None:
    starts = Starts(5, 1)
    starts.ask(2, 0, np.array([0.0]))
    assert taken(starts, 5, since=2) == [0, 1, 0]


def test_who_would_come_after_the_end_stays_pending() -> None:
    starts = Starts(4, 1)
    starts.ask(0, 0, np.array([2.0, 50.0]))
    taken(starts, 4)
    assert starts.pending.tolist() == [1]


def test_the_first_are_kept() -> None:
    starts = Starts(10, 2)
    starts.ask(0, 0, np.array([2.0, 4.0, 6.0, 50.0]))
    starts.ask(0, 1, np.array([3.0]))
    starts.cancel(0, 0, 2)
    assert starts.pending.tolist() == [2, 1]
    assert taken(starts, 10) == [0, 0, 1, 0, 1, 0, 0, 0, 0, 0]
    starts = Starts(10, 1)
    starts.ask(0, 0, np.array([2.0, 50.0, 60.0]))
    starts.cancel(0, 0, 2)
    assert starts.pending.tolist() == [2]
    starts.cancel(0, 0, 0)
    assert starts.pending.tolist() == [0]


def test_delays_spread_around_their_median() -> None:
    delays = start_delays(101, 100.0, 0.3)
    assert delays[50] == pytest.approx(100)
    assert (np.diff(delays) > 0).all()
    assert np.log(delays).std() == pytest.approx(0.3, rel=0.02)
    assert start_delays(3, 100.0, 0.0).tolist() == [100, 100, 100]
    assert start_delays(0, 100.0, 0.3).tolist() == []
