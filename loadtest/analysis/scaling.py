"""How the system scaled during a run: each change of what was wanted, and how long its parts took."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from loadtest.analysis.settings import Event
from loadtest.analysis.timeline import Timeline
from loadtest.metrics.scaling import Lag, Moment, ScalingEvent, Signal, Values, scaling_events
from loadtest.raw_log import RawLog

# The last part of the names of series that count what scales.
_COUNTS = ("workers", "replicas")

# Dataflow's defaults: above its utilization hint more workers are asked for
# (https://cloud.google.com/dataflow/docs/guides/tune-horizontal-autoscaling), below 75 % fewer
# (https://cloud.google.com/dataflow/docs/guides/troubleshoot-autoscaling). Vertex AI asks for more replicas
# above 60 % (https://cloud.google.com/vertex-ai/docs/predictions/autoscaling); its metric of processors is of
# one vCPU, whose number is not known here, so that only the accelerators' tells of a crossing.
_THRESHOLDS: Mapping[str, Sequence[tuple[str, float, Literal["up", "down"]]]] = {
    "job/workers": (("job/cpu", 0.8, "up"), ("job/cpu", 0.75, "down")),
    "endpoint/replicas": (("endpoint/duty_cycle", 0.6, "up"), ("endpoint/duty_cycle", 0.6, "down")),
}
# Dataflow's own reason: a series for each direction and rationale, 1 while it holds.
_RATIONALE = "job/scaling/"
_DIRECTIONS = {"up": "Upscale", "down": "Downscale"}
_BEYOND = {"up": "above", "down": "below"}


@dataclass(frozen=True)
class Scaling:
    """One change of the number of workers or replicas that is wanted.

    Moments are seconds since the schedule's zero.

    Attributes:
        series: That counts what there is, such as "job/workers".
        before: How many were wanted until then.
        after: How many from then on.
        signal: What crossed its threshold first, such as "job/cpu above 0.8"; None where nothing was seen to.
        rationale: The autoscaler's own; empty where it tells none.
        trigger: The first crossing.
        decision: When the wanted number changed.
        start: When the number first changed after it.
        warm: When the answers reached their new steady rate.
        decision_lag: From the trigger to the decision.
        start_lag: From the decision to the start.
        warm_up_lag: From the start to warm.
    """

    series: str
    before: float
    after: float
    signal: str | None
    rationale: str
    trigger: Moment | None
    decision: Moment
    start: Moment | None
    warm: Moment | None
    decision_lag: Lag | None
    start_lag: Lag | None
    warm_up_lag: Lag | None


def scalings(log: RawLog, messages: Timeline) -> tuple[Scaling, ...]:
    """Return each change of a target, in the order of time; none where no target is known.

    Args:
        log: Of the run.
        messages: Of the same.
    """
    rate = _answers(messages)
    found = []
    for name in _counts(log):
        target = _values(log, _target(name))
        signals = [
            Signal(
                f"{series} {'above' if direction == 'up' else 'below'} {limit:g}", sampled, limit, direction
            )
            for series, limit, direction in _THRESHOLDS.get(name, ())
            if len((sampled := _values(log, series)).at)
        ]
        events = scaling_events(target, _values(log, name), signals, rate)
        found += [_scaling(log, name, event) for event in events]
    return tuple(sorted(found, key=lambda each: each.decision.until))


def scaling_marks(log: RawLog, scalings: Sequence[Scaling]) -> list[Event]:
    """Return what happened, for people: each change of the numbers, and trigger, decision and warm-up."""
    found = []
    starts = {(each.series, each.start.until) for each in scalings if each.start is not None}
    zero = log.facts.started
    for name in _counts(log):
        quantity = name.rpartition("/")[2]
        at, values = log.values(name)
        for index in np.flatnonzero(np.diff(values)).tolist():
            before, after = values[index], values[index + 1]
            moment = float(at[index + 1])
            start = ": start" if (name, moment - zero) in starts else ""
            found.append(Event(moment, f"{quantity} {before:g} → {after:g}{start}"))
    for each in scalings:
        quantity = each.series.rpartition("/")[2]
        change = f"{each.after:g} {quantity}"
        if each.trigger is not None:
            found.append(Event(zero + each.trigger.until, f"{each.signal}: triggers {change}"))
        why = f" ({each.rationale})" if each.rationale else ""
        found.append(Event(zero + each.decision.until, f"decision for {change}{why}"))
        if each.warm is not None:
            found.append(Event(zero + each.warm.until, f"{change} warm"))
    return found


def _counts(log: RawLog) -> list[str]:
    return [name for name in sorted(log.series) if name.rpartition("/")[2] in _COUNTS]


def _target(count: str) -> str:
    of, slash, quantity = count.rpartition("/")
    return f"{of}{slash}target_{quantity}"


def _values(log: RawLog, name: str) -> Values:
    at, values = log.values(name)
    return Values(at - log.facts.started, values)


def _answers(messages: Timeline) -> Values:
    """Return the answers of each whole second, by its end."""
    seconds = max(1, int(messages.ended_at))
    counted, _ = np.histogram(
        messages.answered_at[~messages.missing], bins=seconds, range=(0.0, float(seconds))
    )
    return Values(np.arange(1, seconds + 1, dtype=np.float64), counted.astype(np.float64))


def _scaling(log: RawLog, name: str, event: ScalingEvent) -> Scaling:
    direction = "up" if event.after > event.before else "down"
    since = event.trigger.after if event.trigger is not None else event.decision.after
    return Scaling(
        series=name,
        before=event.before,
        after=event.after,
        signal=event.signal,
        rationale=_rationale(log, direction, since, event.decision.until) if name == "job/workers" else "",
        trigger=event.trigger,
        decision=event.decision,
        start=event.start,
        warm=event.warm,
        decision_lag=event.decision_lag,
        start_lag=event.start_lag,
        warm_up_lag=event.warm_up_lag,
    )


def _rationale(log: RawLog, direction: str, since: float, until: float) -> str:
    """Return Dataflow's reasons for a change in this direction that held between two moments."""
    found = []
    for name in sorted(log.series):
        if not name.startswith(f"{_RATIONALE}{_DIRECTIONS[direction]}"):
            continue
        sampled = _values(log, name)
        if np.any(sampled.values[(sampled.at >= since) & (sampled.at <= until)] > 0):
            found.append(name.rpartition("/")[2])
    return ", ".join(found)
