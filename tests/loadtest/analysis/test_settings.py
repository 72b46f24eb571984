from __future__ import annotations

from pathlib import Path

import pytest

from lab.report import report_command
from loadtest.analysis.settings import Settings, SettingsError, keep, kept
from loadtest.run_folder import Staging
from tests.loadtest.made_log import Load, made_log

ASKED = Settings(deadline_s=2.0, tightest_objective_s=0.25, warm_up_floor_s=60.0)


def test_what_is_kept_is_read(tmp_path: Path) -> None:
    assert kept(tmp_path) == Settings()
    keep(ASKED, tmp_path)
    assert kept(tmp_path) == ASKED


@pytest.mark.parametrize("damage", [b"{", b"[]", b"{}", b'{"deadline_s": "2"}'])
def test_a_foreign_file_is_named(damage: bytes, tmp_path: Path) -> None:
    (tmp_path / "settings.json").write_bytes(damage)
    with pytest.raises(SettingsError, match=r"settings\.json holds no settings of a run"):
        kept(tmp_path)
    made_log().write(tmp_path)
    assert report_command([str(tmp_path)]) == 1


def test_a_report_judges_a_run_as_it_was_judged(tmp_path: Path) -> None:
    """The driver is late by 8 ms: too much by itself, and no matter for an objective of 250 ms."""
    made_log(Load(schedule_error_s=0.002)).write(tmp_path)
    assert report_command([str(tmp_path)]) == 1
    keep(Settings(tightest_objective_s=0.25), tmp_path)
    assert report_command([str(tmp_path)]) == 0


def test_a_new_run_does_not_take_over_those_of_an_earlier_one(tmp_path: Path) -> None:
    keep(ASKED, tmp_path)
    with Staging(tmp_path, "0a1b2c3d") as staging:
        assert kept(tmp_path) == ASKED
        staging.begin()
    assert kept(tmp_path) == Settings()
