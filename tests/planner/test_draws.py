from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from planner.autoscalers.dataflow import DataflowSettings, LatencyTier
from planner.autoscalers.vertex import VertexSettings
from planner.capacity import Capacity
from planner.draws import Draws, Floats, draw
from planner.fluid import Endpoint, Job, simulate
from planner.unknowns import UNKNOWNS, Basis, Distribution, Unknown
from planner.workload import parse_workload
from tests.planner.made_jobs import worker


def test_the_same_seed_gives_the_same_bytes() -> None:
    first, second, other = draw(50, seed=7), draw(50, seed=7), draw(50, seed=8)
    assert all(first[name].tobytes() == second[name].tobytes() for name in UNKNOWNS)
    assert first["decision_period_s"].tobytes() != other["decision_period_s"].tobytes()


def test_unknowns_are_drawn_apart_from_each_other() -> None:
    drawn = draw(500)
    one, other = drawn["decision_period_s"][1:], drawn["stable_for_s"][1:]
    assert abs(np.corrcoef(one, other)[0, 1]) < 0.2


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


class _Recording(dict[str, Floats]):
    """Values that know which of them were read."""

    def __init__(self, values: Mapping[str, Floats]) -> None:
        super().__init__(values)
        self.read: set[str] = set()

    def __getitem__(self, name: str) -> Floats:
        self.read.add(name)
        return super().__getitem__(name)


def test_each_unknown_is_read() -> None:
    """One that nothing reads would widen no band, and yet be reported."""
    values = _Recording(draw(1).values)
    replica = Capacity.by_hand(100.0, 1.0, 0.02)
    plain, gpu = DataflowSettings(min_workers=2, max_workers=9), DataflowSettings(max_workers=9, gpu=True)
    jobs = [
        *(Job(worker(), replace(plain, latency_tier=tier)) for tier in LatencyTier),
        Job(worker(), gpu, Endpoint(replica, VertexSettings(2, 9), deployed=False), running=False),
    ]
    for job in jobs:
        simulate(parse_workload("constant 600 40m"), job, Draws(1, values), step_s=5.0, record_s=5.0)
    # Those of one worker and of the way to it are read by planner.prediction, that of prices by planner.cost.
    left = {"core_factor", "look_s", "way_s", "way_sigma", "engine_units_share"}
    assert UNKNOWNS.keys() - values.read == left
