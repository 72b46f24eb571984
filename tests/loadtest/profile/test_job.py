"""A job's profile from runs whose laws are known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from loadtest.analysis.analyse import Analysis, analyse
from loadtest.analysis.settings import Settings
from loadtest.profile.job import JobRuns, ProfileDataError, job_profile
from loadtest.profile.laws import fit, through
from loadtest.profile.model_calls import model_calls
from loadtest.profile.profile import Point, Quantity
from loadtest.profile.sizes import calls_of_backlog, left_out, settled, sizes_up_to, sizes_within
from loadtest.raw_log import Messages, RawLog, Sample, Series
from loadtest.statistics.jackknife import blocks_of
from tests.loadtest.made_log import STARTED, made_log
from tests.loadtest.made_log import Load as MadeLoad

# Of the made bundle thread, milliseconds: each batch and each request of it.
CALL, ROW = 2.0, 0.05
HAND_OVER, DECODE = 0.3, 0.04
REST, REST_EACH = 1.0, 0.1
CPU, CPU_EACH = 3.0, 0.2


def bundles(size: int, count: int, gap_s: float, noise: float = 0.02, slower: float = 1.0) -> RawLog:
    """Return the log of `count` batches of a size on one thread; with `gap_s` 0, all come at once.

    A call takes `slower` times what the law says.
    """
    random = np.random.default_rng(size)
    n = size * count
    now, sent, received, started, ended, result = 0.0, *(np.empty(n) for _ in range(5))
    for number in range(count):
        rows = slice(number * size, (number + 1) * size)
        arrival = number * gap_s
        now = max(now, arrival + 0.001)
        sent[rows] = arrival
        received[rows] = now + DECODE / 1e3 * np.arange(size)
        now += (DECODE * size + HAND_OVER) / 1e3
        started[rows] = now
        took = slower * (CALL + ROW * size) / 1e3 * random.normal(1, noise)
        ended[rows] = now + round(took * 1e6) / 1e6
        now += took + (REST + REST_EACH * size) / 1e3
        result[rows] = now
    wait, call, queue = (started - received) * 1e3, (ended - started) * 1e3, (received - sent) * 1e3
    stages = np.column_stack([queue, wait, np.round(call, 3), np.full(n, np.nan)])
    shape = made_log(MadeLoad(rate=10, seconds=2))
    until = max(1.0, float(np.ceil(result[-1])))
    at = np.arange(0.0, until + 1)
    done = np.searchsorted(ended[::size], at)
    samples = tuple(
        Sample(STARTED + second, "job/cpu_s", float(calls * (CPU + CPU_EACH * size) / 1e3))
        for second, calls in zip(at.tolist(), done.tolist(), strict=True)
    )
    messages = Messages(
        STARTED + sent, STARTED + sent, STARTED + result, np.full(n, np.nan), stages,
        np.full(n, float(size)), np.ones(n, dtype=np.int64),
    )  # fmt: skip
    facts = replace(shape.facts, duration=until, ended_at=STARTED + until)
    return RawLog(facts, messages, {"job/cpu_s": Series("job/cpu_s", "s", "process")}, samples)


def with_analysis(*logs: RawLog) -> list[tuple[RawLog, Analysis]]:
    return [(log, analyse(log, Settings(warm_up_floor_s=0.1))) for log in logs]


def made_runs(*levels: RawLog, backlogs: Sequence[RawLog] = (), idle: Sequence[float] = ()) -> JobRuns:
    return JobRuns(idle=list(idle), levels=with_analysis(*levels), backlogs=list(backlogs))


def holds(one: Quantity, truth: float) -> bool:
    return one.low is not None and one.high is not None and one.low <= truth <= one.high


def test_all_laws_of_a_known_thread_are_found() -> None:
    # Slow arrivals of single messages, and batches that wait for one another.
    logs = [bundles(1, 800, 0.01), bundles(8, 1500, 0.0), bundles(32, 800, 0.0), bundles(96, 400, 0.0)]
    backlogs = [bundles(1, 800, 0.0), *logs[1:]]
    profile = job_profile("local", "", made_runs(*logs, backlogs=backlogs, idle=[0.0] * 5))
    assert (profile.service.a.value, profile.service.b.value) == pytest.approx((CALL, ROW), rel=0.03)
    assert (profile.service.smallest, profile.service.largest) == (1.0, 96.0)
    assert abs(profile.service.worst_residual) < 0.02
    assert profile.decode is not None
    assert (profile.decode.a.value, profile.decode.b.value) == pytest.approx((HAND_OVER, DECODE), rel=0.02)
    assert profile.rest is not None
    assert (profile.rest.a.value, profile.rest.b.value) == pytest.approx((REST, REST_EACH), rel=0.1)
    assert profile.rest.smallest == 8.0  # single messages had pauses between them
    assert profile.processor is not None
    assert (profile.processor.a.value, profile.processor.b.value) == pytest.approx((CPU, CPU_EACH), rel=0.1)
    assert profile.notes == {}
    assert [round(level.batch_size) for level in profile.levels] == [1, 8, 32, 96]


def test_what_was_not_seen_is_told() -> None:
    profile = job_profile("local", "", made_runs(bundles(1, 300, 0.01), bundles(4, 300, 0.02)))
    assert profile.rest is None
    assert "kept up with each rate" in profile.notes["rest"]
    assert profile.idle_cores is None
    assert "cannot be read" in profile.notes["idle_cores"]


def test_in_endpoint_mode_decoding_is_not_told_apart() -> None:
    runs = made_runs(bundles(1, 300, 0.01), bundles(4, 300, 0.02), idle=[0.1] * 5)
    profile = job_profile("endpoint", "", runs)
    assert profile.decode is None
    assert profile.rest is None
    assert "cannot be told from decoding" in profile.notes["decode"]


def test_one_size_is_no_law() -> None:
    with pytest.raises(ProfileDataError, match="give --max_batch_size above 1"):
        job_profile("local", "", made_runs(bundles(1, 100, 0.01)))


def test_no_run_is_no_law() -> None:
    with pytest.raises(ProfileDataError, match="no law can be fitted"):
        job_profile("local", "", JobRuns())


def test_the_law_is_that_of_the_sizes_that_flags_set() -> None:
    """At the rates, small batches take twice as long, as after a pause: a law of those would be another."""
    levels = [bundles(1, 800, 0.01, slower=2.0), bundles(32, 800, 0.0)]
    backlogs = [bundles(size, 400, 0.0) for size in (1, 4, 16, 32)]
    profile = job_profile("local", "", made_runs(*levels, backlogs=backlogs))
    assert (profile.service.a.value, profile.service.b.value) == pytest.approx((CALL, ROW), rel=0.03)
    assert holds(profile.service.a, CALL)
    assert holds(profile.service.b, ROW)
    assert profile.service.not_told == []
    assert "service" not in profile.notes
    assert [level.service_ratio for level in profile.levels] == pytest.approx([2.0, 1.0], rel=0.05)
    confounded = job_profile("local", "", made_runs(*levels))
    assert confounded.service.b.value < ROW / 2
    assert "set by the rates" in confounded.notes["service"]


def test_what_a_size_failed_by_is_told() -> None:
    runs = made_runs(bundles(1, 300, 0.01), backlogs=[bundles(size, 300, 0.0) for size in (4, 16)])
    runs.failed[1] = "the job refused its flags"
    runs.settled = False
    profile = job_profile("local", "", runs)
    assert profile.notes["service"] == "of batches of 1 there is nothing: the job refused its flags"
    assert "had not settled" in profile.notes["levels"]


def test_sizes_that_were_not_tried_are_told() -> None:
    runs = made_runs(bundles(1, 300, 0.01), backlogs=[bundles(size, 300, 0.0) for size in (1, 4)])
    runs.left_out = left_out(sizes_up_to(16), 4)
    runs.settled = False
    notes = job_profile("endpoint", "", runs).notes
    assert notes["service"] == (
        "batches of 8, 16 are left out: the container takes at most 4 instances in a call (--max_batch_size)"
    )
    assert notes["levels"].startswith("the container refused calls of more instances than it takes")
    assert "had not settled" in notes["levels"]


def test_what_is_left_over_at_the_end_of_a_bundle_has_no_part_in_the_law() -> None:
    log = bundles(4, 50, 0.0)
    log.messages.batch_size[:2] = 2.0
    log.messages.batch_size[2:4] = np.nan
    log.messages.sent_at[:] = STARTED
    everything = model_calls(log)
    assert set(everything.size) == {2.0, 4.0}
    assert calls_of_backlog(log, everything).size.tolist() == [4.0] * 49


def test_of_a_backlog_the_calls_count_that_began_after_the_last_message() -> None:
    log = bundles(4, 50, 0.0)
    log.messages.sent_at[:] = STARTED
    log.messages.sent_at[40:44] = STARTED + 0.1
    everything = model_calls(log)
    calls = calls_of_backlog(log, everything)
    assert 0 < len(calls) < len(everything)
    assert (calls.started >= STARTED + 0.1).all()


@pytest.mark.parametrize(
    ("largest", "sizes"),
    [(1, [1]), (2, [1, 2]), (4, [1, 2, 3, 4]), (128, [1, 3, 11, 38, 128]), (1000, [1, 6, 32, 178, 1000])],
)
def test_sizes_go_up_to_the_jobs_own(largest: int, sizes: list[int]) -> None:
    assert sizes_up_to(largest) == sizes


@pytest.mark.parametrize(
    ("asked", "most", "sizes"),
    [
        ([1, 4, 16, 64], None, [1, 4, 16, 64]),
        ([1, 4, 16, 64], 64, [1, 4, 16, 64]),
        ([1, 4, 16, 64], 63, [1, 3, 8, 22, 63]),
        ([1, 8], 4, [1, 2, 3, 4]),
    ],
)
def test_sizes_go_up_to_what_a_call_may_have(asked: list[int], most: int | None, sizes: list[int]) -> None:
    assert sizes_within(asked, most) == sizes
    assert bool(left_out(asked, most)) == (sizes != asked)


def test_calls_that_still_get_faster_have_not_settled() -> None:
    calls = model_calls(bundles(1, 200, 0.01))
    assert settled(calls)
    faster = np.linspace(3.0, 1.0, 200)
    assert not settled(replace(calls, ms=calls.ms * faster))
    assert not settled(replace(calls, ms=np.full(3, 1.0)))  # too few to tell


def test_calls_that_are_alike_are_told_apart() -> None:
    calls = model_calls(bundles(4, 50, 0.0, noise=0.0))
    assert len(calls) == 50
    assert calls.size.tolist() == [4.0] * 50
    assert (np.diff(calls.started) > 0).all()


def test_a_call_of_which_a_result_is_missing_is_left_out() -> None:
    log = bundles(4, 50, 0.0)
    log.messages.batch_size[5] = np.nan
    assert len(model_calls(log)) == 49


def test_the_interval_holds_the_truth() -> None:
    held = 0
    for seed in range(40):
        random = np.random.default_rng(seed)
        size = np.repeat([1.0, 8.0, 32.0, 64.0], 200)
        ms = (5 + 0.5 * size) * random.lognormal(0, 0.2, len(size))
        law = fit(size, ms, np.tile(blocks_of(200), 4))
        assert law is not None
        assert law.b.low is not None
        assert law.b.high is not None
        held += law.b.low <= 0.5 <= law.b.high
    assert held >= 34  # 95 % of 40 is 38; under 34 is a chance of 1 in 200


def test_runs_that_scatter_about_the_law_widen_its_intervals() -> None:
    """Each run is even in itself, so that its own noise would make the interval far too narrow."""
    size = np.repeat([1.0, 3.0, 11.0, 38.0, 128.0], 200)
    ms = np.repeat([0.30, 0.24, 0.33, 0.27, 0.31], 200) * np.tile([0.99, 1.01], 500)
    law = fit(size, ms, np.tile(blocks_of(200), 5))
    assert law is not None
    assert law.not_told == ["b"]
    assert holds(law.b, 0.0)


def test_figures_without_samples_have_no_interval() -> None:
    law = through([Point(1.0, 3.0, 1), Point(10.0, 12.0, 1), Point(20.0, 22.0, 1)])
    assert law is not None
    assert (law.a.value, law.b.value) == pytest.approx((2.0, 1.0))
    assert law.a.low is None
    assert through([Point(1.0, 3.0, 1)]) is None
