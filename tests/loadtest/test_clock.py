from __future__ import annotations

from loadtest.clock import epoch_clock


def test_a_step_of_the_wall_clock_is_not_seen() -> None:
    wall, monotonic = 1000.0, 5.0
    clock = epoch_clock(lambda: wall, lambda: monotonic)
    assert clock() == 1000
    wall, monotonic = 400.0, 7.5
    assert clock() == 1002.5
