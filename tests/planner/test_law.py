"""Service laws with their ranges, and where they are from."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from loadtest.profile.profile import Law, Level, Point, Quantity
from planner.law import Figure, by_hand, of_profile

LAW = Law(
    Quantity(2.0, "ms", 1.5, 2.5, 100),
    Quantity(0.1, "ms", -0.05, 0.2, 100),
    1.0,
    128.0,
    0.02,
    {"mean": 1.1, "p50": 1.0, "p90": 1.25632, "p99": 2.0},
    [Point(1.0, 2.1, 50), Point(128.0, 14.8, 50)],
)
LEVEL = Level(50.0, 50.0, True, True, 1.0, {}, {}, {}, 6.8)


def test_a_measured_law() -> None:
    law = of_profile(LAW, "measured", "profile.json of 2026-11-27")
    assert law.likeliest.seconds(10) == pytest.approx(0.003)
    assert law.likeliest.variation == pytest.approx(0.2)
    assert (law.fixed.low, law.fixed.high) == (1.5, 2.5)
    assert law.each.low == 0.0  # time does not run back
    assert str(law.fixed) == "2 (1.5 to 2.5) ms, measured: profile.json of 2026-11-27"


def test_calls_at_low_rates_take_as_much_longer_as_was_measured() -> None:
    levels = [LEVEL, replace(LEVEL, offered=1000.0, service_ratio=1.2)]
    law = of_profile(LAW, "measured", "here", levels).likeliest
    assert law.at_rate(50.0).seconds(1) == pytest.approx(6.8 * 0.0021)
    assert law.at_rate(1.0).seconds(1) == pytest.approx(6.8 * 0.0021)
    assert law.at_rate(5000.0).seconds(1) == pytest.approx(1.2 * 0.0021)
    assert 1.2 < law.at_rate(300.0).seconds(1) / 0.0021 < 6.8


@pytest.mark.parametrize("what", [{"kept_up": False}, {"valid": False}, {"service_ratio": None}])
def test_a_rate_that_was_not_kept_up_with_says_nothing_of_pauses(what: dict[str, object]) -> None:
    other = replace(LEVEL, offered=1000.0, **what)  # type: ignore[arg-type]
    assert of_profile(LAW, "measured", "here", [LEVEL, other]).slow_down == ((50.0, 6.8),)


def test_sizes_that_nobody_saw_are_extrapolated() -> None:
    law = of_profile(LAW, "measured", "here")
    assert [law.extrapolated(rows) for rows in (1, 128, 129)] == [False, False, True]


def test_draws_stay_in_the_range() -> None:
    law = by_hand(10.0, 1.0, "somebody's guess", spread=0.3)
    random = np.random.default_rng(1)
    drawn = np.array([law.draw(random).fixed_s for _ in range(500)])
    assert drawn.min() >= 0.007
    assert drawn.max() <= 0.013
    assert drawn.std() > 0.0005
    assert law.fixed.basis == "assumed"


def test_a_figure_without_a_range_is_drawn_as_it_is() -> None:
    law = by_hand(10.0, 1.0, "a data sheet")
    assert law.draw(np.random.default_rng(1)) == law.likeliest


def test_another_machine_makes_a_law_an_estimate() -> None:
    law = of_profile(LAW, "measured", "an L4").times(1.5, "the T4 is slower")
    assert law.fixed.value == pytest.approx(3.0)
    assert law.fixed.basis == "estimated"
    assert law.fixed.source == "an L4; x 1.5: the T4 is slower"


def test_a_value_outside_its_range_is_refused() -> None:
    with pytest.raises(ValueError, match="3 ms is not in its range, 1 to 2"):
        Figure(3.0, 1.0, 2.0, "ms", "assumed", "here")
