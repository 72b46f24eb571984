"""Scaling events of a run, from what Cloud Monitoring tells of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from loadtest.analysis.analyse import Analysis, analyse
from loadtest.analysis.settings import Settings
from loadtest.metrics.scaling import Lag, Moment
from loadtest.raw_log import RawLog, Sample, Series
from loadtest.report.page import to_html
from loadtest.report.tables import scaling_rows
from tests.loadtest.made_log import STARTED, Load, made_log

BACKLOG = "job/scaling/Upscale number of workers/High backlog"


def with_series(log: RawLog, *made: tuple[str, Sequence[tuple[float, float]]]) -> RawLog:
    samples = [Sample(STARTED + at, name, value) for name, points in made for at, value in points]
    return replace(
        log,
        series={**log.series, **{name: Series(name, "1", "Cloud Monitoring") for name, _ in made}},
        samples=tuple(sorted((*log.samples, *samples), key=lambda sample: sample.at)),
    )


def scaled() -> Analysis:
    log = with_series(
        made_log(Load(rate=50.0, seconds=300.0)),
        ("job/cpu", [(-60, 0.5), (0, 0.6), (60, 0.9), (120, 0.95), (180, 0.7), (240, 0.7)]),
        ("job/target_workers", [(-60, 1), (0, 1), (60, 1), (120, 3), (180, 3), (240, 3)]),
        ("job/workers", [(-60, 1), (0, 1), (60, 1), (120, 1), (180, 2), (240, 3)]),
        (BACKLOG, [(60, 0), (120, 1), (180, 0)]),
        ("job/scaling/Downscale number of workers/Low worker utilization", [(120, 1)]),
    )
    return analyse(log, Settings())


def test_trigger_decision_start_and_warm_up_with_their_lags() -> None:
    (scaling,) = scaled().scalings
    assert (scaling.series, scaling.before, scaling.after) == ("job/workers", 1, 3)
    assert (scaling.signal, scaling.rationale) == ("job/cpu above 0.8", "High backlog")
    assert scaling.trigger == Moment(0, 60)
    assert scaling.decision == Moment(60, 120)
    assert scaling.start == Moment(120, 180)
    assert (scaling.decision_lag, scaling.start_lag) == (Lag(0, 120), Lag(0, 120))
    # The answers of the made system do not wait for workers: they are as many as ever.
    assert scaling.warm is not None
    assert 120 < scaling.warm.until < 130


def test_each_is_an_event() -> None:
    told = {event.text: event.at - STARTED for event in scaled().events}
    assert told.pop("3 workers warm") < 130
    assert told == {
        "job/cpu above 0.8: triggers 3 workers": 60,
        "decision for 3 workers (High backlog)": 120,
        "workers 1 → 2: start": 180,
        "workers 2 → 3": 240,
    }


def test_the_report_has_them_in_a_table() -> None:
    analysis = scaled()
    (row,) = scaling_rows(analysis)
    assert row[:5] == (
        "workers 1 → 3", "job/cpu above 0.8; High backlog", "120 s", "0 – 120 s", "0 – 120 s"
    )  # fmt: skip
    assert "decision to start" in to_html([analysis], ["runs/one"])


def test_without_a_target_there_is_no_decision() -> None:
    log = with_series(made_log(Load(seconds=60.0)), ("job/workers", [(0, 1), (30, 2)]))
    analysis = analyse(log, Settings())
    assert analysis.scalings == ()
    assert [event.text for event in analysis.events] == ["workers 1 → 2"]
    assert scaling_rows(analysis) == []


def test_replicas_that_become_fewer() -> None:
    log = with_series(
        made_log(Load(rate=50.0, seconds=120.0)),
        ("endpoint/duty_cycle", [(0, 0.7), (30, 0.4), (60, 0.4)]),
        ("endpoint/target_replicas", [(0, 2), (30, 2), (60, 1)]),
        ("endpoint/replicas", [(0, 2), (30, 2), (60, 2)]),
    )
    (scaling,) = analyse(log, Settings()).scalings
    assert (scaling.signal, scaling.rationale) == ("endpoint/duty_cycle below 0.6", "")
    assert (scaling.start, scaling.start_lag, scaling.warm) == (None, None, None)
