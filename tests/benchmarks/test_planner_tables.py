from __future__ import annotations

import pytest

from benchmarks.planner.exact_servers import overload_rows
from benchmarks.planner.fluid_table import CASES, HOUR, Case, FluidRow, measure, verdicts


def test_a_case_is_measured() -> None:
    row = measure(Case(1e6, 50, 60.0, 0.5, 3))
    assert row.steps == 120
    assert row.simulate_s > 0
    assert row.memory_mib >= row.bare_mib
    assert row.as_json()["steps"] == 120


def test_the_goals_are_of_the_rows_that_they_name() -> None:
    rows = [FluidRow(case, 1, 1.0, 1.0, 100.0, 50.0) for case in CASES]
    assert all(each.met for each in verdicts(rows))
    slow = [FluidRow(HOUR, 1, 4.0, 2.0, 100.0, 50.0) if row.case == HOUR else row for row in rows]
    assert [each.met for each in verdicts(slow)] == [False, True, True, False]


def test_the_fluid_layer_beside_exact_events() -> None:
    """Away from the knee: p50 within 5 %, p99 within 10 %."""
    for row in overload_rows(servers=(20,), overloads=(1.3, 2.0)):
        assert row.fluid_mean == pytest.approx(row.exact_mean, rel=0.05)
        assert row.fluid_p50 == pytest.approx(row.exact_p50, rel=0.05)
        assert row.fluid_p99 == pytest.approx(row.exact_p99, rel=0.10)
