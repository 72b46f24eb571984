from __future__ import annotations

import numpy as np
import pytest

from planner.draws import draw
from planner.unknowns import UNKNOWNS, Basis, Distribution, Unknown


def test_the_same_seed_gives_the_same_bytes() -> None:
    first, second, other = draw(50, seed=7), draw(50, seed=7), draw(50, seed=8)
    assert all(first[name].tobytes() == second[name].tobytes() for name in UNKNOWNS)
    assert first["decision_period_s"].tobytes() != other["decision_period_s"].tobytes()


def test_the_first_draw_has_the_defaults() -> None:
    drawn = draw(3)
    assert {name: drawn[name][0] for name in UNKNOWNS} == {
        name: unknown.default for name, unknown in UNKNOWNS.items()
    }


@pytest.mark.parametrize("name", UNKNOWNS)
def test_values_stay_in_their_range_and_fill_it(name: str) -> None:
    unknown = UNKNOWNS[name]
    values = draw(2_000)[name]
    assert unknown.low <= values.min() <= values.max() <= unknown.high
    if unknown.low < unknown.high:
        assert np.ptp(values) > 0.5 * (unknown.high - unknown.low)


def test_a_lognormal_has_its_median_at_the_default() -> None:
    assert np.median(draw(20_001)["job_start_s"]) == pytest.approx(168, rel=0.02)


def test_what_is_known_is_not_drawn() -> None:
    drawn = draw(20, fixed={"decision_period_s": 45.0})
    assert set(drawn["decision_period_s"]) == {45.0}
    assert drawn.fixed == {"decision_period_s"}
    # The others keep what they would have been.
    assert drawn["stable_for_s"].tobytes() == draw(20)["stable_for_s"].tobytes()


def test_a_name_that_is_no_unknown_is_refused() -> None:
    with pytest.raises(ValueError, match="warp_factor is no unknown: choose of decision_period_s"):
        draw(1, fixed={"warp_factor": 9})
    with pytest.raises(ValueError, match="take at least 1"):
        draw(0)


def test_each_unknown_has_evidence_and_a_unit() -> None:
    for unknown in UNKNOWNS.values():
        assert unknown.source
        assert unknown.unit
        assert unknown.meaning


def test_a_default_outside_of_its_range_is_refused() -> None:
    with pytest.raises(ValueError, match="5 is not from 6 to 9"):
        Unknown(5, 6, 9, "s", Distribution.UNIFORM, "wait", "nobody", Basis.ASSUMED)
    with pytest.raises(ValueError, match="sigma above 0 goes with lognormal"):
        Unknown(7, 6, 9, "s", Distribution.UNIFORM, "wait", "nobody", Basis.ASSUMED, sigma=1)
