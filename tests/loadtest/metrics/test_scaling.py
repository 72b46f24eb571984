"""Scaling events from samples: the first crossing, and lags that are no finer than the sampling."""

from __future__ import annotations

import numpy as np
import pytest

from loadtest.metrics.scaling import Lag, Moment, ScalingEvent, Signal, Values, scaling_events


def sampled(values: dict[float, float]) -> Values:
    return Values(np.array(list(values), dtype=np.float64), np.array(list(values.values()), dtype=np.float64))


def minutes(*values: float) -> Values:
    """Return values that were sampled every 60 s from 0 on."""
    return sampled({60.0 * i: value for i, value in enumerate(values)})


def cpu(*values: float) -> Signal:
    return Signal("endpoint/cpu", minutes(*values), 0.6, "up")


def one(target: Values, count: Values, *signals: Signal, rate: Values | None = None) -> ScalingEvent:
    (event,) = scaling_events(target, count, signals, rate)
    return event


class TestTrigger:
    def test_the_first_crossing_not_the_highest_value(self) -> None:
        # Published tests took the time of the highest value of the 5 minutes before: 300 here, a lag of 0.
        event = one(
            minutes(1, 1, 1, 1, 1, 1, 2), minutes(1, 1, 1, 1, 1, 1, 1), cpu(0.3, 0.3, 0.7, 0.8, 0.9, 1.9, 0.9)
        )
        assert event.signal == "endpoint/cpu"
        assert event.trigger == Moment(60.0, 120.0)
        assert event.decision == Moment(300.0, 360.0)
        assert event.decision_lag == Lag(180.0, 300.0)

    def test_a_crossing_that_passed_again_is_still_the_first(self) -> None:
        event = one(minutes(1, 1, 1, 1, 1, 2), minutes(1), cpu(0.3, 0.7, 0.3, 0.7, 0.8, 0.8))
        assert event.trigger == Moment(0.0, 60.0)

    def test_what_was_crossed_before_the_first_sample_is_not_known(self) -> None:
        event = one(minutes(1, 1, 2), minutes(1, 1, 1), cpu(0.9, 0.9, 0.9))
        assert (event.signal, event.trigger, event.decision_lag) == (None, None, None)

    def test_a_crossing_after_the_decision_is_not_its_trigger(self) -> None:
        event = one(minutes(1, 2, 2, 2), minutes(1, 1, 2, 2), cpu(0.3, 0.3, 0.9, 0.9))
        assert event.trigger is None

    def test_of_several_signals_the_first_that_is_crossed(self) -> None:
        backlog = Signal("job/backlog_s", minutes(0, 0, 30, 30, 30), 10.0, "up")
        lazy = Signal("job/cpu", minutes(0.3, 0.3, 0.3, 0.9, 0.9), 0.8, "up")
        event = one(minutes(1, 1, 1, 1, 4), minutes(1, 1, 1, 1, 1), lazy, backlog)
        assert event.signal == "job/backlog_s"
        assert event.trigger == Moment(60.0, 120.0)

    def test_each_decision_has_a_crossing_of_its_own(self) -> None:
        events = scaling_events(
            minutes(1, 1, 2, 2, 2, 2, 4),
            minutes(1, 1, 1, 2, 2, 2, 2),
            [cpu(0.3, 0.9, 0.9, 0.3, 0.3, 0.9, 0.9)],
        )
        assert [event.trigger for event in events] == [Moment(0.0, 60.0), Moment(240.0, 300.0)]
        assert [(event.before, event.after) for event in events] == [(1, 2), (2, 4)]

    def test_down_is_triggered_by_a_signal_for_down(self) -> None:
        low = Signal("job/cpu", minutes(0.9, 0.9, 0.2, 0.2, 0.2), 0.75, "down")
        high = Signal("job/cpu", minutes(0.9, 0.9, 0.2, 0.2, 0.2), 0.8, "up")
        event = one(minutes(4, 4, 4, 2, 2), minutes(4, 4, 4, 4, 2), high, low)
        assert event.trigger == Moment(60.0, 120.0)
        assert event.start == Moment(180.0, 240.0)
        assert event.warm is None


class TestResolution:
    def test_lags_are_intervals_as_wide_as_the_samplings(self) -> None:
        # Published tests gave the distance of two resampled points: always 10 s, whatever had happened.
        event = one(minutes(1, 1, 2, 2, 2, 2), minutes(1, 1, 1, 1, 1, 2), cpu(0.3, 0.9, 0.9, 0.9, 0.9, 0.9))
        assert event.start == Moment(240.0, 300.0)
        assert event.start_lag == Lag(120.0, 240.0)
        assert event.start_lag.low_s > 0

    def test_what_one_sample_shows_at_once_cannot_be_told_apart(self) -> None:
        event = one(minutes(1, 1, 2, 2), minutes(1, 1, 2, 2), cpu(0.3, 0.3, 0.9, 0.9))
        assert event.decision_lag == Lag(0.0, 60.0)
        assert event.start_lag == Lag(0.0, 60.0)
        assert event.decision_lag is not None
        assert event.decision_lag.low_s == 0  # the samples cannot tell the two apart

    @pytest.mark.parametrize("shift", [0.0, 17.0, 59.0])
    def test_the_truth_lies_within_wherever_the_samples_fall(self, shift: float) -> None:
        # Crossed at 100, decided at 190, one more at 330; each is sampled every minute, at times of its own.
        at = np.arange(-60.0, 600.0, 60.0)
        signal = Values(at + shift, np.where(at + shift >= 100, 0.9, 0.3))
        target = Values(at + 7, np.where(at + 7 >= 190, 2.0, 1.0))
        count = Values(at + 31, np.where(at + 31 >= 330, 2.0, 1.0))
        event = one(target, count, Signal("job/cpu", signal, 0.6, "up"))
        for lag, truth in ((event.decision_lag, 90.0), (event.start_lag, 140.0)):
            assert lag is not None
            assert lag.low_s <= truth <= lag.high_s
            assert lag.high_s - lag.low_s <= 120.0


class TestStart:
    def test_a_decision_that_nothing_follows(self) -> None:
        assert one(minutes(1, 2, 2, 2), minutes(1, 1, 1, 1)).start is None

    def test_a_late_start_belongs_to_the_decision_whose_old_target_it_passes(self) -> None:
        first, second = scaling_events(minutes(1, 2, 4, 4, 4, 4), minutes(1, 1, 1, 2, 2, 4), [])
        assert first.start == Moment(120.0, 180.0)
        assert second.start == Moment(240.0, 300.0)

    def test_a_reversed_decision_has_none(self) -> None:
        target = minutes(1, 2, 2, 1, 1, 1, 2, 2)
        first, back, again = scaling_events(target, minutes(1, 1, 1, 1, 1, 1, 1, 2), [])
        assert (first.start, back.start) == (None, None)
        assert again.start == Moment(360.0, 420.0)

    def test_more_of_them_before_the_decision_is_not_its_outcome(self) -> None:
        event = one(minutes(1, 1, 1, 2, 2), sampled({0: 1, 60: 2, 120: 1, 180: 1, 240: 2}))
        assert event.start == Moment(180.0, 240.0)


class TestWarmUp:
    def rate(self, *steps: tuple[int, float], noise: float = 0.0) -> Values:
        """Return a rate of each second, from steps of (seconds, answers a second)."""
        values = np.concatenate([np.full(seconds, level) for seconds, level in steps])
        values = values + np.random.default_rng(5).normal(0, noise, len(values))
        return Values(np.arange(1.0, len(values) + 1), values)

    def event(self, rate: Values) -> ScalingEvent:
        return one(minutes(1, 1, 2, 2, 2, 2, 2), minutes(1, 1, 1, 2, 2, 2, 2), rate=rate)

    def test_the_first_second_at_the_new_level(self) -> None:
        event = self.event(self.rate((200, 100.0), (20, 130.0), (180, 200.0), noise=2.0))
        assert event.start == Moment(120.0, 180.0)
        # Second 221 is the first of the new level; a mean of 5 s reaches 95 % of it up to one second sooner.
        assert event.warm is not None
        assert 219.0 <= event.warm.until <= 221.0
        assert event.warm_up_lag is not None
        assert event.warm_up_lag.low_s <= 221 - 180 <= event.warm_up_lag.high_s

    def test_a_warm_up_longer_than_what_follows(self) -> None:
        event = self.event(self.rate((400, 100.0), (200, 200.0)))
        assert event.warm is not None
        assert 399.0 <= event.warm.until <= 401.0

    def test_a_backlog_that_drains_above_the_level_is_warm(self) -> None:
        event = self.event(self.rate((200, 100.0), (60, 300.0), (240, 200.0)))
        assert event.warm is not None
        assert event.warm.until <= 201.0

    def test_too_short_a_stretch_has_no_level(self) -> None:
        assert self.event(self.rate((145, 100.0))).warm is None

    def test_no_answers_is_no_level(self) -> None:
        assert self.event(self.rate((400, 0.0))).warm is None


def test_a_constant_target_has_no_event() -> None:
    assert scaling_events(minutes(2, 2, 2), minutes(2, 1, 2), [cpu(0.3, 0.9, 0.9)]) == []
    assert scaling_events(minutes(), minutes(), []) == []
