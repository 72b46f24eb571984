from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from loadtest.summary import Measurement, Summary, summarise

NAN = np.nan
T0 = 1.7e9  # epoch seconds, so that precision is that of real runs


def times(*offsets: float) -> np.ndarray:
    return T0 + np.array(offsets)


def measurement(**changes: object) -> Measurement:
    """Four messages in a second, all answered 100 ms after they were due and sent 1 ms late."""
    due = times(0, 0.25, 0.5, 0.75)
    base = Measurement(
        run="cafe0123",
        intended=due,
        sent_at=due + 0.001,
        result_at=due + 0.1,
        dead_letter_at=np.full(4, NAN),
        stages_ms=np.array([[10, NAN, 30, NAN]] * 4),
        warmup_messages=0,
        window_start=T0,
        window_end=T0 + 1,
        ended_at=T0 + 3,
        duplicates=0,
        publish_errors=0,
        foreign=0,
    )
    return dataclasses.replace(base, **changes)  # type: ignore[arg-type]


def near(value: float) -> object:
    return pytest.approx(value, abs=1e-3)  # a float64 of epoch seconds resolves 0.24 µs


def test_a_run_without_trouble() -> None:
    summary = summarise(measurement())
    assert (summary.sent, summary.received, summary.lost, summary.dead_lettered) == (4, 4, 0, 0)
    assert summary.offered_rate == near(4)
    assert summary.achieved_rate == near(4)
    assert summary.latency_ms == dict.fromkeys(("p50", "p90", "p95", "p99", "p99_9", "max"), near(100))
    assert summary.schedule_error_ms == dict.fromkeys(("p50", "p99", "max"), near(1))
    assert summary.failures() == []
    assert summary.schedule_warning() is None
    assert summary.backlog_slope == pytest.approx(0, abs=1)


def test_stages_and_what_is_left() -> None:
    stages = summarise(measurement()).stages_ms
    assert stages["queue"] == {"p50": near(10), "p99": near(10)}
    assert stages["inference"] == {"p50": near(30), "p99": near(30)}
    assert stages["batch_wait"] == {"p50": None, "p99": None}
    assert stages["server"] == {"p50": None, "p99": None}
    assert stages["rest"] == {"p50": near(60), "p99": near(60)}


def test_the_servers_time_lies_inside_inference_and_leaves_rest_as_it_is() -> None:
    stages = summarise(measurement(stages_ms=np.array([[10, NAN, 30, 25]] * 4))).stages_ms
    assert stages["server"] == {"p50": near(25), "p99": near(25)}
    assert stages["inference"] == {"p50": near(30), "p99": near(30)}
    assert stages["rest"] == {"p50": near(60), "p99": near(60)}


def test_some_results_may_lack_the_servers_time() -> None:
    stages = summarise(measurement(stages_ms=np.array([[1, 1, 8, NAN], [1, 1, 8, 4]] * 2))).stages_ms
    assert stages["server"] == {"p50": 4, "p99": 4}
    assert stages["rest"]["p50"] == near(90)


def test_results_that_report_no_stage_have_no_rest() -> None:
    stages = np.array([[NAN] * 4, [NAN] * 4, [1, 1, 1, NAN], [NAN] * 4])
    summary = summarise(measurement(stages_ms=stages))
    assert summary.stages_ms["rest"] == {"p50": near(97), "p99": near(97)}


def test_percentiles_are_numpys_over_all_values() -> None:
    latencies = np.random.default_rng(1).exponential(0.05, 5000)
    due = T0 + np.arange(5000) / 5000
    summary = summarise(
        measurement(
            intended=due, sent_at=due, result_at=due + latencies, dead_letter_at=np.full(5000, NAN),
            stages_ms=np.full((5000, 4), NAN),
        )
    )  # fmt: skip
    expected = np.percentile(latencies * 1e3, [50, 90, 95, 99, 99.9, 100])
    np.testing.assert_allclose(list(summary.latency_ms.values()), expected, atol=1e-3)  # type: ignore[arg-type]


def test_a_lost_request_counts_as_waited_so_far() -> None:
    summary = summarise(measurement(result_at=times(0.1, NAN, 0.6, 0.85)))
    assert (summary.received, summary.lost, summary.censored) == (3, 1, 1)
    assert summary.latency_ms["max"] == near(2750)  # due at 0.25, collection ended at 3
    assert summary.latency_ms["p50"] == near(100)
    assert [line.split(":")[0] for line in summary.failures()] == ["lost 1 of 4 requests"]


def test_a_late_answer_and_a_negative_latency_stay_in() -> None:
    summary = summarise(measurement(result_at=times(2.9, 0.2, 0.6, 0.85)))
    assert summary.latency_ms["max"] == near(2900)
    assert summary.lost == 0
    only = summarise(measurement(result_at=times(-0.05, 0.2, 0.45, 0.7)))
    assert only.latency_ms["max"] == near(-50)


def test_a_dead_letter_is_an_answer() -> None:
    summary = summarise(
        measurement(
            result_at=times(0.1, NAN, 0.6, 0.85), dead_letter_at=times(0.3, 0.45, NAN, NAN), duplicates=1
        )
    )
    assert (summary.received, summary.dead_lettered, summary.answered_both, summary.lost) == (3, 2, 1, 0)
    assert summary.duplicates == 1
    assert summary.latency_ms["max"] == near(200)
    assert summary.failures() == []


def test_nothing_answered_gives_no_latency_rather_than_zero() -> None:
    summary = summarise(measurement(result_at=np.full(4, NAN), stages_ms=np.full((4, 4), NAN)))
    assert set(summary.latency_ms.values()) == {None}
    assert {value for stage in summary.stages_ms.values() for value in stage.values()} == {None}
    assert (summary.achieved_rate, summary.censored, summary.lost) == (None, 0, 4)
    assert summary.offered_rate == near(4)


def test_nothing_sent_is_a_failure() -> None:
    nothing = np.full(4, NAN)
    summary = summarise(measurement(sent_at=nothing, result_at=nothing, stages_ms=np.full((4, 4), NAN)))
    assert (summary.sent, summary.lost, summary.offered_rate) == (0, 0, None)
    assert set(summary.schedule_error_ms.values()) == {None}
    assert len(summary.failures()) == 1


def test_the_warm_up_counts_but_is_left_out_of_figures() -> None:
    summary = summarise(
        measurement(
            warmup_messages=2, window_start=T0 + 0.5,
            result_at=times(5, NAN, 0.6, 0.85), sent_at=times(0.2, 0.3, 0.501, 0.751),
        )
    )  # fmt: skip
    assert (summary.sent, summary.received, summary.lost, summary.warmup_messages) == (4, 3, 1, 2)
    assert (summary.latency_ms["max"], summary.censored) == (near(100), 0)
    assert summary.schedule_error_ms["max"] == near(1)
    assert summary.offered_rate == near(4)
    assert summary.achieved_rate == near(4)


def test_lagging_answers_lower_the_achieved_rate_only() -> None:
    summary = summarise(measurement(result_at=times(0.5, 1, 1.5, 2)))
    assert summary.offered_rate == near(4)
    assert summary.achieved_rate == near(2)


def test_backlog_slope_is_what_comes_in_less_what_goes_out() -> None:
    due = T0 + np.arange(1000) / 100
    out = T0 + np.arange(1000) / 80
    summary = summarise(
        measurement(
            intended=due, sent_at=due, result_at=out, dead_letter_at=np.full(1000, NAN),
            stages_ms=np.full((1000, 4), NAN), window_end=T0 + 10,
        )
    )  # fmt: skip
    assert summary.backlog_slope == pytest.approx(20, abs=0.2)


def test_a_missed_schedule_is_a_warning_with_its_figure() -> None:
    summary = summarise(measurement(sent_at=times(0.01, 0.26, 0.51, 0.76)))
    assert summary.failures() == []
    assert "p99 10.0 ms late" in (summary.schedule_warning() or "")


def test_publish_errors_fail_the_run_even_when_all_is_answered() -> None:
    summary = summarise(measurement(publish_errors=2, last_publish_error="UNAVAILABLE: away"))
    assert summary.failures() == ["2 messages could not be published: UNAVAILABLE: away"]


def test_the_file_holds_every_figure_under_its_name(tmp_path: Path) -> None:
    summary = summarise(measurement(auc=0.9))
    summary.write(tmp_path / "summary.json")
    written = json.loads((tmp_path / "summary.json").read_text())
    assert set(written) == {field.name for field in dataclasses.fields(Summary)}
    assert written["auc"] == 0.9
    assert set(written["versions"]) == {"python", "torch", "apache-beam", "numpy", "google-cloud-pubsub"}
    assert written["versions"]["numpy"] == np.__version__
    assert written["cpus"] >= 1
