from __future__ import annotations

import numpy as np
import pytest

from planner.autoscalers.dataflow import (
    DataflowAutoscaler,
    DataflowSettings,
    LatencyTier,
    ScheduledRange,
    WorkerSignals,
    law,
)
from planner.draws import Draws, draw

NOBODY = np.zeros(1)
ALL = np.ones(1, dtype=np.bool_)


def signals(
    workers: float = 10,
    arriving: float = 1_000,
    done: float = 1_000,
    backlog: float = 0,
    cpu: float = 0.6,
    occupied: float = 0.5,
    throttled: float = 0.0,
) -> WorkerSignals:
    values = (workers, arriving, done, backlog, cpu, occupied, throttled)
    return WorkerSignals(*(np.array([float(value)]) for value in values))


def one() -> Draws:
    return draw(1)


def decide_until(
    autoscaler: DataflowAutoscaler, seen: WorkerSignals, until: float, pending: float = 0.0
) -> list[tuple[float, float]]:
    """Let it decide at each of its moments; return the time and target of each change."""
    changes = []
    now = 0.0
    while now < until:
        now = float(autoscaler.next_decision[0])
        before = float(autoscaler.target[0])
        after = float(autoscaler.decide(now, ALL, seen, np.array([pending]))[0])
        if after != before:
            changes.append((now, after))
    return changes


def test_up_by_growth_and_by_the_backlog() -> None:
    """10 workers do 1,000/s of 1,300/s: 13 keep up, and 10 x 150 s / 150 s more clear what has waited."""
    wish = law(signals(arriving=1_300, backlog=150_000), DataflowSettings(), 0.8, one())
    assert wish.up.all()
    assert wish.more.tolist() == [23]


def test_up_by_the_cpu() -> None:
    wish = law(signals(cpu=0.95), DataflowSettings(), 0.8, one())
    assert wish.up.all()
    assert wish.more.tolist() == [12]  # 10 x 0.95 / 0.8 = 11.9


def test_down_to_where_those_who_stay_are_at_75_percent() -> None:
    wish = law(signals(cpu=0.3), DataflowSettings(), 0.8, one())
    assert not wish.up.any()
    assert wish.down.all()
    assert wish.fewer.tolist() == [4]  # 10 x 0.3 / 0.75


@pytest.mark.parametrize(
    "seen", [signals(cpu=0.76), signals(cpu=0.3, backlog=11_000), signals(arriving=1_100)]
)
def test_no_change_between_the_two(seen: WorkerSignals) -> None:
    """CPU between 75 and 80 %, a backlog of 11 s, or one that grows, but below the trigger of 15 s."""
    wish = law(seen, DataflowSettings(), 0.8, one())
    assert not wish.up.any()
    assert not wish.down.any()


def test_a_backlog_with_idle_cpu_adds_nobody() -> None:
    """I/O bound: below the floor of 20 % CPU more workers are not thought to help."""
    waiting = signals(arriving=2_000, backlog=1e6, cpu=0.08, occupied=1.0)
    assert not law(waiting, DataflowSettings(), 0.8, one()).up.any()


def test_with_a_parallelism_hint_open_bundles_count_instead_of_cpu() -> None:
    waiting = signals(arriving=2_000, backlog=1e5, cpu=0.08, occupied=1.0)
    hinted = DataflowSettings(parallelism_hint=12, bundle_threads=12)
    wish = law(waiting, hinted, 0.8, one())
    assert wish.up.all()
    assert wish.more[0] > 20
    idle = law(signals(cpu=0.9, occupied=0.1), hinted, 0.8, one())
    assert idle.down.all()


def test_the_throttling_counter_keeps_it_from_adding_workers_that_only_wait() -> None:
    held_back = signals(arriving=2_000, backlog=1e5, cpu=0.4, throttled=0.5)
    assert law(held_back, DataflowSettings(throttling_counter=False), 0.8, one()).up.all()
    assert not law(held_back, DataflowSettings(throttling_counter=True), 0.8, one()).up.any()


@pytest.mark.parametrize(
    ("tier", "backlog_s", "up"),
    [
        (LatencyTier.LOW, 7, True), (LatencyTier.MEDIUM, 7, False), (LatencyTier.MEDIUM, 20, True),
        (LatencyTier.HIGH, 20, False), (LatencyTier.HIGH, 70, True),
    ],
)  # fmt: skip
def test_the_latency_tier_moves_the_trigger(tier: LatencyTier, backlog_s: float, up: bool) -> None:
    settings = DataflowSettings(latency_tier=tier)
    assert bool(law(signals(backlog=1_000 * backlog_s), settings, 0.8, one()).up[0]) is up


def test_a_signal_must_last() -> None:
    """Decisions each 60 s, signals stable for 120 s: the third decision acts."""
    settings = DataflowSettings(num_workers=10)
    autoscaler = DataflowAutoscaler(settings, one())
    assert decide_until(autoscaler, signals(arriving=1_300, backlog=150_000), 300)[0] == (180, 23)
    # The rise ends: nothing more, though the signal was up for a while.
    autoscaler = DataflowAutoscaler(settings, one())
    assert decide_until(autoscaler, signals(arriving=1_300, backlog=150_000), 110) == []
    assert decide_until(autoscaler, signals(cpu=0.77), 600) == []


def test_only_draws_that_are_due_decide() -> None:
    drawn = draw(2, fixed={"stable_for_s": 0.0})
    autoscaler = DataflowAutoscaler(DataflowSettings(num_workers=10), drawn)
    twice = WorkerSignals(
        *(np.full(2, value) for value in (10.0, 1_300.0, 1_000.0, 150_000.0, 0.6, 0.5, 0.0))
    )
    wanted = autoscaler.decide(60.0, np.array([True, False]), twice, np.zeros(2))
    assert wanted.tolist() == [23, 10]
    assert autoscaler.next_decision[0] == 60 + drawn["decision_period_s"][0]
    assert autoscaler.next_decision[1] == drawn["decision_period_s"][1]


def test_it_stays_in_its_range() -> None:
    up = decide_until(
        DataflowAutoscaler(DataflowSettings(num_workers=10, max_workers=15), one()),
        signals(arriving=1_300, backlog=150_000), 600,
    )  # fmt: skip
    assert up == [(180, 15)]
    down = decide_until(
        DataflowAutoscaler(DataflowSettings(min_workers=6, num_workers=10), one()), signals(cpu=0.1), 600
    )
    assert down == [(180, 6)]


def test_it_takes_nobody_away_while_some_are_starting() -> None:
    autoscaler = DataflowAutoscaler(DataflowSettings(num_workers=10), one())
    assert decide_until(autoscaler, signals(cpu=0.1), 600, pending=3) == []


def test_damping_makes_a_part_of_the_step() -> None:
    damped = draw(1, fixed={"damping": 0.5})
    changes = decide_until(
        DataflowAutoscaler(DataflowSettings(num_workers=10), damped),
        signals(arriving=1_300, backlog=150_000),
        200,
    )
    assert changes == [(180, 17)]  # 10 + (23 - 10) / 2, rounded up


def test_with_few_keys_more_workers_have_nothing_to_do() -> None:
    settings = DataflowSettings(num_workers=10, keys=130, parallelism_hint=10)
    busy = signals(arriving=1_500, backlog=150_000, occupied=1.0)
    assert decide_until(DataflowAutoscaler(settings, one()), busy, 200) == [(180, 13)]


def test_a_schedule_holds_for_its_time_only() -> None:
    night = ScheduledRange(start_s=3_600, duration_s=600, min_workers=20, max_workers=30, every_s=86_400)
    noon = ScheduledRange(3_900, 60, 40, 50, utilization_hint=0.5, priority=1)
    settings = DataflowSettings(min_workers=1, max_workers=10, schedules=(night, noon))
    assert settings.at(0) == (1, 10, 0.8)
    assert settings.at(3_600) == (20, 30, 0.8)
    assert settings.at(3_900) == (40, 50, 0.5)
    assert settings.at(86_400 + 3_700) == (20, 30, 0.8)
    assert settings.at(4_200) == (1, 10, 0.8)
    autoscaler = DataflowAutoscaler(settings, one())
    wanted = autoscaler.decide(3_600.0, ALL, signals(workers=1, cpu=0.5), NOBODY)
    assert wanted.tolist() == [20]
    waiting = DataflowAutoscaler(settings, one())
    assert waiting.decide(3_600.0, ~ALL, signals(workers=1, cpu=0.5), NOBODY).tolist() == [1]


def test_a_range_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="5 to 2 is no range of workers"):
        DataflowSettings(min_workers=5, max_workers=2)
    with pytest.raises(ValueError, match="0 to 2 is no range of workers"):
        DataflowSettings(schedules=(ScheduledRange(0, 1, 0, 2),))
    with pytest.raises(ValueError, match="hint of 0.95 is not from 0.1 to 0.9"):
        DataflowSettings(utilization_hint=0.95)
