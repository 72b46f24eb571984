"""Calibrated on some published rows, what is predicted of the others."""

from __future__ import annotations

import pytest

from planner.calibration.fit import calibrate, predict
from planner.calibration.judge import FITTED, Judged, by_configuration, carried_over
from planner.calibration.rows import read

PUBLISHED = read()
SEED = 5


def test_the_rows() -> None:
    assert len(PUBLISHED.rows) == 24
    kept_up = {(row.gpu, row.mode): 0 for row in PUBLISHED.rows}
    for row in PUBLISHED.rows:
        kept_up[row.gpu, row.mode] += row.kept_up
    assert kept_up == {("L4", "local"): 3, ("L4", "endpoint"): 4, ("T4", "local"): 2, ("T4", "endpoint"): 3}


def test_rows_whose_delay_was_there_from_the_start_are_listed() -> None:
    unexplained = [(row.gpu, row.mode, row.offered) for row in PUBLISHED.rows if row.unexplained]
    assert unexplained == [("L4", "local", 100.0), ("T4", "local", 75.0)]


def test_too_few_rows() -> None:
    rows = [row for row in PUBLISHED.of("L4", "local") if row.offered <= 50]
    with pytest.raises(ValueError, match="2 of 2 rows kept up"):
        calibrate(rows, SEED, "here")


def meets_the_goals(judged: Judged) -> None:
    for cell in judged.predicted:
        assert cell.right, cell
        assert abs(cell.done_error) <= 0.10, cell
        if cell.row.kept_up:
            assert abs(cell.p50_error) <= 0.25, cell


@pytest.mark.slow
def test_each_configuration_by_its_own_rows() -> None:
    judged = by_configuration(PUBLISHED, SEED)
    assert len(judged) == 4
    for one in judged:
        assert [cell.row.offered for cell in one.predicted] == [75.0, 100.0]
        meets_the_goals(one)


@pytest.mark.slow
def test_the_t4_by_the_l4_and_one_factor() -> None:
    for judged, factor in carried_over(PUBLISHED, "L4", "T4", SEED):
        assert 1.0 < factor < 1.1
        assert len(judged.predicted) == 5
        meets_the_goals(judged)
        assert judged.worker.law.fixed.basis == "estimated"
        assert "x 1.0" in judged.worker.law.fixed.source


@pytest.mark.slow
def test_other_rows_than_the_fitted_are_not_looked_at() -> None:
    rows = [row for row in PUBLISHED.of("L4", "endpoint") if row.offered in FITTED]
    one = calibrate(rows, SEED, PUBLISHED.source)
    again = next(j for j in by_configuration(PUBLISHED, SEED) if j.name == "L4 endpoint")
    assert one == again.worker
    assert predict(one, 100.0, SEED) == again.predicted[1].predicted
