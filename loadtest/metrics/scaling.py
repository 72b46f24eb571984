"""Scaling events: what triggered each, and how long its decision, start and warm-up took."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from loadtest.raw_log import Floats

# The rate has reached its new level once the mean of so many seconds is within this share of it.
_RATE_MEAN_S = 5
_RATE_TOLERANCE = 0.05
# Shorter, and there is no level to speak of.
_STEADY_S = 30.0


@dataclass(frozen=True)
class Values:
    """A sampled quantity.

    Attributes:
        at: [m] epoch seconds, ascending; of a rate, the end of each second.
        values: [m].
    """

    at: Floats
    values: Floats


@dataclass(frozen=True)
class Signal:
    """What an autoscaler looks at.

    Attributes:
        name: Such as "job/cpu".
        sampled: Its values.
        threshold: It asks for a change when this is crossed.
        direction: Of the change, and of the crossing: "up" above the threshold, "down" below it.
    """

    name: str
    sampled: Values
    threshold: float
    direction: Literal["up", "down"]


@dataclass(frozen=True)
class Moment:
    """When something happened: after one sample and at the latest at the next, so never a point.

    Attributes:
        after: Epoch seconds of the last sample without it.
        until: Of the first sample with it.
    """

    after: float
    until: float


@dataclass(frozen=True)
class Lag:
    """How long it took from one moment to another.

    Attributes:
        low_s: At least.
        high_s: At most.
    """

    low_s: float
    high_s: float


@dataclass(frozen=True)
class ScalingEvent:
    """One change of the target.

    Attributes:
        before: The target until then.
        after: The target from then on.
        signal: Which was crossed first; None where none was.
        trigger: The first crossing since the decision before; None where none was seen, or where it was on
            the far side from the first sample on.
        decision: When the target changed.
        start: When the count passed `before`, towards `after`; None where it did not until the decision was
            reversed.
        warm: When the rate reached its new steady level; None where that is not known.
    """

    before: float
    after: float
    signal: str | None
    trigger: Moment | None
    decision: Moment
    start: Moment | None
    warm: Moment | None

    @property
    def decision_lag(self) -> Lag | None:
        """From the trigger to the decision."""
        return _lag(self.trigger, self.decision)

    @property
    def start_lag(self) -> Lag | None:
        """From the decision to the first change of the count."""
        return _lag(self.decision, self.start)

    @property
    def warm_up_lag(self) -> Lag | None:
        """From the first change of the count to the new steady rate."""
        return _lag(self.start, self.warm)


def scaling_events(
    target: Values, count: Values, signals: Sequence[Signal], rate: Values | None = None
) -> list[ScalingEvent]:
    """Return the changes of the target, in the order of time.

    Args:
        target: Workers or replicas that are wanted.
        count: Workers or replicas that there are.
        signals: What the autoscaler looks at; of several, the first that is crossed triggers.
        rate: Answers a second, one value for each second; None where it is not known.
    """
    changes = [
        _Change(float(target.values[i - 1]), float(target.values[i]), _between(target.at, i))
        for i in range(1, len(target.at))
        if target.values[i] != target.values[i - 1]
    ]
    events = []
    for place, change in enumerate(changes):
        since = changes[place - 1].decision.until if place else -np.inf
        later = changes[place + 1 :]
        until = later[0].decision.until if later else np.inf
        reversed_at = next((one.decision.until for one in later if one.direction != change.direction), np.inf)
        name, trigger = _trigger(signals, change, since)
        start = _start(count, change, reversed_at)
        warm = None if rate is None or start is None else _warm(rate, change, start, until)
        events.append(ScalingEvent(change.before, change.after, name, trigger, change.decision, start, warm))
    return events


@dataclass(frozen=True)
class _Change:
    """One change of the target."""

    before: float
    after: float
    decision: Moment

    @property
    def direction(self) -> Literal["up", "down"]:
        return "up" if self.after > self.before else "down"


def _between(at: Floats, place: int) -> Moment:
    return Moment(float(at[place - 1]), float(at[place]))


def _trigger(signals: Sequence[Signal], change: _Change, since: float) -> tuple[str | None, Moment | None]:
    """Return the signal that was crossed first after `since` and until the decision, and when."""
    first: tuple[str, Moment] | None = None
    for signal in signals:
        if signal.direction != change.direction:
            continue
        crossing = _crossing(signal.sampled, signal.threshold, signal.direction, since, change.decision.until)
        if crossing is not None and (first is None or crossing.until < first[1].until):
            first = signal.name, crossing
    return first or (None, None)


def _start(count: Values, change: _Change, until: float) -> Moment | None:
    """Return when the count first passed the old target, from the decision on."""
    # What was over before the target's last sample without the decision cannot be its outcome.
    return _crossing(count, change.before, change.direction, change.decision.after, until)


def _crossing(
    sampled: Values, threshold: float, direction: Literal["up", "down"], since: float, until: float
) -> Moment | None:
    """Return the first crossing that a sample after `since` and until `until` shows."""
    beyond = sampled.values > threshold if direction == "up" else sampled.values < threshold
    for i in range(1, len(sampled.at)):
        if beyond[i] and not beyond[i - 1] and since < sampled.at[i] <= until:
            return _between(sampled.at, i)
    return None


def _warm(rate: Values, change: _Change, start: Moment, until: float) -> Moment | None:
    """Return the first second at the new steady rate: the median of the second half of the stretch."""
    if change.direction == "down":
        return None  # fewer workers need no warming
    chosen = (rate.at > start.after) & (rate.at < until)
    at, values = rate.at[chosen], rate.values[chosen]
    if len(at) < 2 or at[-1] - at[0] < _STEADY_S:
        return None
    steady = float(np.median(values[len(values) // 2 :]))
    means = np.convolve(values, np.ones(_RATE_MEAN_S) / _RATE_MEAN_S, mode="valid")
    # While a backlog drains, the rate is above its later level: that is warm, too.
    reached = np.flatnonzero(means >= (1 - _RATE_TOLERANCE) * steady)
    if steady <= 0 or not len(reached):
        return None
    first = int(reached[0])
    return Moment(float(at[first] - 1.0), float(at[first]))


def _lag(first: Moment | None, second: Moment | None) -> Lag | None:
    """Return the time between two moments; None where one is not known."""
    if first is None or second is None:
        return None
    return Lag(max(0.0, second.after - first.until), max(0.0, second.until - first.after))
