from __future__ import annotations

from loadtest.bottleneck.job_log import ATTEMPTS, CONGESTED, THROTTLED, WAITED, totals, with_job_log
from tests.loadtest.bottleneck.runs import run

LINE = (
    "2026-11-27 14:00:00,123 INFO pipeline.inference.endpoint.client: http://127.0.0.1:8080/predict: "
    "40 attempts, 12 of them found it full; bundles waited for it for 8.000 s, throttled for 6.500 s\n"
)


def test_the_last_line_of_each_start_counts() -> None:
    text = f"reading\n{LINE}started again\n{LINE}stopped cleanly\n"
    assert totals(text) == {ATTEMPTS: 80, CONGESTED: 24, WAITED: 16, THROTTLED: 13}


def test_a_job_that_was_killed_tells_nothing() -> None:
    assert totals("reading\nhttp://127.0.0.1/: 429 full; trying again (1 failed)\n") is None


def test_the_raw_log_gets_them_at_its_end() -> None:
    log = with_job_log(run(), LINE)
    at, values = log.values(THROTTLED)
    assert (at.tolist(), values.tolist()) == ([log.facts.ended_at], [6.5])
    assert not log.series[THROTTLED].unavailable


def test_what_is_not_there_is_said() -> None:
    log = with_job_log(run(), "")
    assert not len(log.values(THROTTLED)[0])
    assert "no last line" in log.series[THROTTLED].unavailable
