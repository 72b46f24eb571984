"""Figures of made runs, against what is known of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from loadtest.analysis.analyse import Analysis, analyse
from loadtest.analysis.settings import Event, Settings
from loadtest.raw_log import Messages, RawLog, Sample, Series
from tests.loadtest.bottleneck.runs import run as steady_run
from tests.loadtest.made_log import STARTED, Faults, Load, System, cut_short, made_log


def of(log: RawLog, settings: Settings | None = None) -> Analysis:
    return analyse(log, settings or Settings())


def delayed(log: RawLog, seconds: float) -> RawLog:
    """Return the same run with each answer so much later."""
    return replace(log, messages=replace(log.messages, result_at=log.messages.result_at + seconds))


class TestLatency:
    def test_a_stall_of_two_seconds_a_minute_is_seen_whole(self) -> None:
        """At a constant rate, the slowest 1 % are those that came in the first 0.6 s of the stall: 1.4 s."""
        n = 60 * 1_000
        intended = np.arange(n) / 1_000
        stalled = (intended >= 30) & (intended < 32)
        # A closed loop: while the system stalls, the driver waits, too.
        sent = np.where(stalled, np.maximum(intended, 32.0), intended)
        sent[np.flatnonzero(stalled)[0]] = 30.0
        answered = np.where(stalled, 32.0, intended) + 0.005
        log = with_messages(made_log(Load(rate=1_000)), intended, sent, answered)
        analysis = of(replace(log, facts=replace(log.facts, schedule="ramp")), Settings(warm_up_floor_s=0))
        corrected, uncorrected = (x.figures["p99"] for x in (analysis.corrected, analysis.uncorrected))
        assert corrected.value == pytest.approx(1_400, rel=0.1)
        assert uncorrected.value == pytest.approx(5, rel=0.1)
        assert analysis.corrected.figures["max"].value == pytest.approx(2_005, rel=0.01)

    def test_each_percentile_has_its_interval_and_its_effective_sample_size(self) -> None:
        figures = of(made_log()).corrected.figures
        for name in ("p50", "p90", "p95", "p99"):
            figure = figures[name]
            assert figure.value is not None
            assert figure.low is not None
            assert figure.high is not None
            assert figure.low <= figure.value <= figure.high
            assert figure.n == 10_000
            assert figure.effective_n is not None
            assert 0 < figure.effective_n <= figure.n

    def test_too_few_samples_for_a_percentile_refuse_it_with_the_reason(self) -> None:
        refused = of(made_log(Load(rate=100))).corrected.figures["p99.9"]
        assert (refused.value, refused.guard) == (None, "refused")
        assert refused.note == "needs 6,636 samples, there are 5,000"
        hint = of(made_log(Load(rate=400))).corrected.figures["p99.9"]
        assert hint.guard == "diagnostic"
        assert hint.value is not None

    def test_a_missing_answer_counts_as_at_least_the_time_that_it_was_waited_for(self) -> None:
        missing = list(range(6_000, 6_200))  # 2 % of what follows the warm-up
        figures = of(made_log(faults=Faults(missing=missing))).corrected.figures
        assert figures["p99"].at_least
        assert figures["p99"].value is not None
        assert figures["p99"].value > 10_000
        assert not figures["p95"].at_least

    def test_with_a_deadline_it_counts_as_at_least_that(self) -> None:
        log = made_log(faults=Faults(missing=list(range(6_000, 6_200))))
        analysis = of(log, Settings(deadline_s=300.0))
        assert analysis.corrected.figures["p99"].value == pytest.approx(300_000)
        assert analysis.counts.late == 0

    def test_answers_after_the_deadline_are_late(self) -> None:
        assert of(delayed(made_log(), 3.0), Settings(deadline_s=2.0)).counts.late == 12_000

    def test_a_message_that_was_due_and_never_sent_is_missing(self) -> None:
        log = made_log(faults=Faults(missing=[7_000]))
        log.messages.sent_at[7_000] = np.nan
        analysis = of(log)
        assert (analysis.counts.unsent, analysis.counts.missing) == (1, 1)
        assert (analysis.corrected.missing, analysis.uncorrected.missing) == (1, 0)


class TestAccount:
    def test_everything_is_counted(self) -> None:
        log = made_log(faults=Faults(missing=[100, 101], dead=[200], repeated=[300, 301, 302]))
        counts = of(log).counts
        assert (counts.scheduled, counts.due, counts.sent) == (12_000, 12_000, 12_000)
        assert (counts.results, counts.dead_letters, counts.missing) == (11_997, 1, 2)
        assert (counts.duplicates, counts.negative, counts.clock_offset_ms) == (3, 0, 0)

    def test_a_time_below_zero_tells_the_clocks_apart(self) -> None:
        analysis = of(delayed(made_log(), -0.050))
        assert analysis.counts.negative == 12_000
        assert 35 < analysis.counts.clock_offset_ms < 50
        assert any("two clocks differ" in sentence for sentence in analysis.verdict.sentences)

    def test_littles_law_holds_in_a_steady_run(self) -> None:
        law = of(made_log()).littles_law
        assert law is not None
        assert law.holds

    def test_where_it_does_not_hold_the_verdict_says_why(self) -> None:
        sentences = of(made_log(faults=Faults(missing=list(range(5_000, 5_050))))).verdict.sentences
        (told,) = [sentence for sentence in sentences if sentence.startswith("Little's law")]
        assert "messages are never answered" in told


class TestValidity:
    def test_a_driver_that_sends_late_makes_the_run_invalid(self) -> None:
        analysis = of(made_log(Load(schedule_error_s=0.05)))
        assert analysis.verdict.outcome == "INVALID"
        assert "The driver, not the system, limited this run" in analysis.verdict.headline
        assert "p99" in analysis.validity.reasons[0]

    def test_the_tightest_objective_lowers_the_limit(self) -> None:
        log = made_log(Load(schedule_error_s=0.0003))
        assert of(log).validity.valid
        tight = of(log, Settings(tightest_objective_s=0.010)).validity
        assert (tight.valid, tight.limit_ms) == (False, 1.0)

    def test_a_driver_that_falls_behind_makes_it_invalid(self) -> None:
        log = made_log()
        late = np.arange(12_000) >= 11_800
        log.messages.sent_at[late] += 1.5
        log.messages.result_at[late] += 1.5
        reasons = of(log).validity.reasons
        assert any("98.3 % of the schedule" in reason for reason in reasons)


class TestVerdict:
    def test_a_run_that_kept_up_says_so_with_the_overload_that_would_have_shown(self) -> None:
        verdict = of(made_log()).verdict
        assert verdict.outcome == "sustained"
        assert verdict.headline.startswith("It carried 200 messages a second for 50 s, all answered; p99 ")
        assert any(
            "an overload of less than 5.0 % would not have shown" in each for each in verdict.sentences
        )

    def test_overload_is_named_with_the_share_that_stayed_behind(self) -> None:
        analysis = of(made_log(Load(rate=2_500)))
        assert analysis.verdict.outcome == "not sustained"
        assert analysis.verdict.headline.startswith("It did not keep up with 2,500 messages a second: 3")
        assert any("batch wait" in sentence for sentence in analysis.verdict.sentences)

    def test_a_missing_answer_is_not_sustained(self) -> None:
        verdict = of(made_log(faults=Faults(missing=[7_000]))).verdict
        assert verdict.outcome == "not sustained"
        assert "it left 1 of 12,000 messages" in verdict.headline

    def test_too_little_to_tell_is_undecided(self) -> None:
        verdict = of(made_log(Load(seconds=2))).verdict
        assert verdict.outcome == "undecided"
        assert any("too short to tell" in sentence for sentence in verdict.sentences)

    def test_without_any_answer_nothing_is_claimed(self) -> None:
        analysis = of(made_log(Load(rate=10, seconds=5), faults=Faults(missing=list(range(50)))))
        assert analysis.verdict.outcome == "no answer"
        assert analysis.counts.missing == 50

    def test_an_empty_schedule_is_no_answer_either(self) -> None:
        assert of(made_log(Load(rate=0, seconds=5))).verdict.outcome == "no answer"

    def test_a_run_cut_short_is_judged_by_what_was_sent(self) -> None:
        analysis = of(cut_short(made_log(), 40.0))
        assert analysis.counts.due == 8_001
        assert analysis.counts.missing == 0
        assert analysis.window[1] == pytest.approx(40, abs=0.01)
        assert any("cut short: stopped by SIGINT" in sentence for sentence in analysis.verdict.sentences)


class TestWarmUp:
    def test_a_slow_start_is_cut(self) -> None:
        settled = of(made_log(Load(rate=150, seconds=240)))
        slow = of(made_log(Load(rate=150, seconds=240), System(warm_up_s=60)))
        assert 60 <= slow.warm_up.cut_s <= 120
        p99s = [analysis.corrected.figures["p99"].value for analysis in (settled, slow)]
        assert p99s[1] == pytest.approx(p99s[0], rel=0.02)

    def test_noise_alone_is_not_cut(self) -> None:
        cuts = [of(made_log(Load(rate=100, seed=seed, shape="poisson"))).warm_up.cut_s for seed in range(4)]
        assert cuts.count(10.0) >= 3

    def test_what_the_user_set_aside_is_cut_whatever_the_shape(self) -> None:
        log = made_log()
        log = replace(log, facts=replace(log.facts, schedule="ramp 1:400", warmup=7.0))
        warm_up = of(log).warm_up
        assert (warm_up.cut_s, warm_up.steady) == (7.0, None)

    def test_the_floor_leaves_half_of_a_short_run(self) -> None:
        assert of(made_log(Load(seconds=8))).warm_up.cut_s == 4.0


class TestSeries:
    def test_each_second_adds_up(self) -> None:
        analysis = of(made_log(faults=Faults(missing=[5_500])))
        series = analysis.per_second
        assert series.offered[:60].tolist() == [200.0] * 60
        assert series.backlog[10] < series.backlog[40] + 1
        assert series.backlog[-1] == 1
        assert series.latency_ms["max"][27] >= 10_000
        assert np.nansum(series.answered) == pytest.approx(11_999, abs=20)

    def test_a_long_run_has_longer_intervals(self) -> None:
        series = of(made_log(Load(rate=1, seconds=4_000))).per_second
        assert series.step_s == 3
        assert len(series.start) <= 1_800

    def test_the_percentiles_of_a_second_are_those_of_its_messages(self) -> None:
        log = made_log(Load(rate=200, shape="poisson"))
        series = of(log).per_second
        due = log.messages.intended - STARTED
        inside = (due >= 20) & (due < 21)
        latency = (log.messages.result_at - log.messages.intended)[inside] * 1e3
        for name, q in {"p50": 0.5, "p95": 0.95, "p99": 0.99, "max": 1.0}.items():
            assert series.latency_ms[name][20] == pytest.approx(np.quantile(latency, q), abs=1e-3)


class TestStages:
    def test_the_stages_add_up_to_the_latency(self) -> None:
        analysis = of(made_log())
        assert [stage.name for stage in analysis.stages] == ["queue", "batch_wait", "inference", "rest"]
        assert sum(stage.share for stage in analysis.stages) == pytest.approx(1)
        assert sum(stage.share_of_slowest for stage in analysis.stages) == pytest.approx(1)
        mean = analysis.corrected.figures["mean"].value
        assert sum(stage.mean for stage in analysis.stages) == pytest.approx(mean)

    def test_the_server_lies_inside_inference(self) -> None:
        log = made_log()
        log.messages.stages_ms[:, 3] = log.messages.stages_ms[:, 2] / 2
        stages = {stage.name: stage for stage in of(log).stages}
        assert stages["server"].mean == pytest.approx(stages["inference"].mean / 2)
        assert sum(s.share for name, s in stages.items() if name != "server") == pytest.approx(1)

    def test_a_batch_counts_once_however_many_share_it(self) -> None:
        log = made_log(Load(rate=4, seconds=30))
        log.messages.batch_size[:] = np.where(np.arange(120) < 60, 1, 3)
        batches = of(log, Settings(warm_up_floor_s=0)).batches
        assert batches is not None
        assert batches.mean == pytest.approx(120 / (60 + 20))
        assert batches.requests_by_size == ((1, 60), (3, 60))


class TestChanges:
    def test_a_window_with_a_change_is_split(self) -> None:
        log = made_log(Load(rate=200, seconds=120))
        late = log.messages.intended - STARTED >= 90
        log.messages.result_at[late] += (log.messages.intended[late] - STARTED - 90) * 0.5
        regimes = of(log).regimes
        assert len(regimes) >= 2
        assert any(abs(regime.start - 90) <= 2 for regime in regimes)
        slopes = [regime.backlog_slope for regime in regimes]
        assert slopes[0] == pytest.approx(0, abs=1)
        assert slopes[-1] == pytest.approx(200 / 3, rel=0.1)

    def test_scaling_events_come_from_the_workers_and_from_the_settings(self) -> None:
        log = made_log()
        samples = tuple(Sample(STARTED + at, "workers", 1.0 + (at >= 30)) for at in range(60))
        log = replace(log, series={"workers": Series("workers", "1", "Cloud Monitoring")}, samples=samples)
        events = of(log, Settings(events=(Event(STARTED + 5, "by hand"),))).events
        assert [(event.at - STARTED, event.text) for event in events] == [
            (5, "by hand"),
            (30, "workers 1 → 2"),
        ]


class TestResources:
    def test_processor_time_becomes_cores(self) -> None:
        resource = next(r for r in of(made_log()).resources if r.name == "driver/cpu_s")
        assert resource.unit == "cores"
        assert resource.mean == pytest.approx(0.04, rel=0.1)

    def test_what_could_not_be_read_has_its_reason(self) -> None:
        resource = next(r for r in of(made_log()).resources if r.name == "gpu/utilisation")
        assert resource.unavailable == "not available: no NVIDIA driver here"
        assert resource.mean is None

    def test_a_series_of_many_samples_is_thinned(self) -> None:
        log = made_log()
        samples = tuple(Sample(STARTED + at / 100, "gpu/power", float(at)) for at in range(5_000))
        log = replace(log, series={"gpu/power": Series("gpu/power", "W", "NVML")}, samples=samples)
        (resource,) = of(log).resources
        assert len(resource.at) <= 1_800


class TestLimit:
    def test_a_job_that_is_overloaded_has_one(self) -> None:
        bottleneck = of(steady_run(seconds=40, capacity=50, inference_ms=18)).bottleneck
        assert bottleneck is not None
        assert bottleneck.limit == "model compute"
        assert bottleneck.expected is not None
        assert bottleneck.expected.basis == "extrapolated"

    def test_the_tightest_objective_is_what_the_latency_is_held_against(self) -> None:
        quick = of(made_log()).bottleneck
        assert quick is not None
        assert quick.limit == "none"
        slow = of(made_log(), Settings(tightest_objective_s=0.006)).bottleneck
        assert slow is not None
        assert slow.limit != "none"

    def test_of_a_run_that_is_not_valid_the_driver_alone_is_named(self) -> None:
        for late_s, limit in ((0.003, None), (0.5, "driver")):
            analysis = of(made_log(Load(schedule_error_s=late_s)))
            assert not analysis.validity.valid
            assert (analysis.bottleneck and analysis.bottleneck.limit) == limit

    @pytest.mark.parametrize(
        "system", [{"kind": "endpoint"}, {}, {"kind": "local job", "flags": "--max_batch_size=many"}]
    )
    def test_what_is_no_job_or_has_unknown_flags_has_none(self, system: dict[str, str]) -> None:
        log = made_log()
        assert of(replace(log, facts=replace(log.facts, system=system))).bottleneck is None

    def test_a_short_run_has_none(self) -> None:
        assert of(made_log(Load(seconds=2))).bottleneck is None


def with_messages(log: RawLog, intended: np.ndarray, sent: np.ndarray, answered: np.ndarray) -> RawLog:
    n = len(intended)
    messages = Messages(
        intended=STARTED + intended,
        sent_at=STARTED + sent,
        result_at=STARTED + answered,
        dead_letter_at=np.full(n, np.nan),
        stages_ms=np.full((n, 4), np.nan),
        batch_size=np.full(n, np.nan),
        deliveries=np.ones(n, dtype=np.int64),
    )
    return replace(log, messages=messages)
