from __future__ import annotations

from pathlib import Path

import pytest

from loadtest.bottleneck.job_log import THROTTLED
from loadtest.raw_log import RawLog
from local.endpoint_totals import keep_endpoint_totals
from local.job_flags import JobFlags
from tests.loadtest.made_log import Load, made_log

LINE = (
    "2026-11-27 14:00:00,123 INFO pipeline.inference.endpoint.client: http://127.0.0.1:8080/predict: "
    "40 attempts, 12 of them found it full; bundles waited for it for 8.000 s, throttled for 6.500 s\n"
)


@pytest.mark.parametrize(
    ("flag", "run", "throttled_s"),
    [
        ("--inference_mode=endpoint", "0a1b2c3d", [6.5]),
        ("--inference_mode=local", "0a1b2c3d", []),
        ("--inference_mode=endpoint", "of an earlier run", []),
    ],
)
def test_the_raw_log_gets_what_the_job_said_of_its_endpoint(
    flag: str, run: str, throttled_s: list[float], tmp_path: Path
) -> None:
    made_log(Load(seconds=5)).write(tmp_path)
    (tmp_path / "pipeline.log").write_text(LINE)
    keep_endpoint_totals(tmp_path, run, JobFlags([flag], "model.pt2"), tmp_path / "pipeline.log")
    assert RawLog.read(tmp_path).values(THROTTLED)[1].tolist() == throttled_s


def test_a_run_that_left_no_raw_log_has_none_afterwards(tmp_path: Path) -> None:
    log = tmp_path / "pipeline.log"
    log.write_text(LINE)
    keep_endpoint_totals(tmp_path, "1", JobFlags(["--inference_mode=endpoint"], "model.pt2"), log)
    assert list(tmp_path.iterdir()) == [log]
