"""Whether all workers or replicas that are wanted are up, as Cloud Monitoring tells it, minutes late."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from loadtest.clock import Clock
from loadtest.metrics.cloud_metrics import TARGETS, Metric, Watched
from loadtest.metrics.combining import combined
from loadtest.metrics.monitoring_api import MonitoringApi, ReadError

# A value is visible up to 240 s after its sampling, which is every 60 s; what is older is of another time.
_LOOK_BACK_S = 600.0
_PAUSE_S = 15.0


class NotUpError(Exception):
    """Workers or replicas are missing; the message says how many, and what to do."""


@dataclass(frozen=True)
class _Pair:
    """Two metrics of one thing: how many there are, and how many are wanted."""

    watched: Watched
    count: Metric
    target: Metric

    @property
    def name(self) -> str:
        """Such as "workers of the Dataflow job classify"."""
        return f"{self.count.series.rpartition('/')[2]} of {self.watched.what}"


@dataclass(frozen=True)
class _State:
    """What was read of a pair.

    Attributes:
        up: Whether all are up.
        text: For people.
        known: Whether both numbers are known.
        final: Whether asking again gives the same answer.
    """

    up: bool
    text: str
    known: bool
    final: bool


def wait_until_up(
    api: MonitoringApi,
    watched: Sequence[Watched],
    clock: Clock,
    wait: Callable[[float], bool],
    tell: Callable[[str], None],
    timeout_s: float,
) -> None:
    """Return once as many workers and replicas are up as are wanted.

    Where their number cannot be told, because nothing is known of it until the end of the time or may not be
    read at all, that is told, and no error.

    Args:
        api: What answers.
        watched: Of a job, an endpoint or both; what has no number of workers or replicas is passed over.
        clock: Epoch seconds.
        wait: Waits so many seconds; returns True to go on with what there is, as `Event.wait` does.
        tell: Gets a line for each thing that is waited for.
        timeout_s: How long to wait at most.

    Raises:
        NotUpError: Fewer are up at the end of the time.
    """
    deadline = clock() + timeout_s
    pending = _pairs(watched)
    while pending:
        states = [(pair, _state(api, pair, clock())) for pair in pending]
        over = clock() >= deadline
        pending = []
        for pair, state in states:
            if state.up:
                continue
            if state.final or (over and not state.known):
                tell(f"cannot tell whether all {pair.name} are up: {state.text}")
            elif over:
                raise NotUpError(
                    f"{state.text} after {timeout_s:g} s: what is measured now would be of too few. See why "
                    "they do not start (quota, image), or raise --workers_timeout; 0 measures at once"
                )
            else:
                tell(f"waiting, {deadline - clock():.0f} s at most: {state.text}")
                pending.append(pair)
        if pending and wait(min(_PAUSE_S, max(0.0, deadline - clock()))):
            return


def _pairs(watched: Sequence[Watched]) -> list[_Pair]:
    found = []
    for one in watched:
        metrics = {metric.series: metric for metric in one.metrics}
        found += [
            _Pair(one, metrics[count], metrics[target])
            for count, target in TARGETS.items()
            if count in metrics
        ]
    return found


def _state(api: MonitoringApi, pair: _Pair, now: float) -> _State:
    try:
        count, target = (_latest(api, pair.watched, metric, now) for metric in (pair.count, pair.target))
    except ReadError as error:
        return _State(up=False, text=str(error), known=False, final=error.final)
    if count is None or target is None:
        missing = pair.count if count is None else pair.target
        text = f"{pair.watched.what} has no value of {missing.type} in the last {_LOOK_BACK_S:g} s"
        return _State(up=False, text=text, known=False, final=False)
    return _State(
        up=count >= target,
        text=f"{count:g} of {target:g} {pair.name} are up",
        known=True,
        final=False,
    )


def _latest(api: MonitoringApi, watched: Watched, metric: Metric, now: float) -> float | None:
    answer = api.list_time_series(
        watched.project, watched.filter(metric), now - _LOOK_BACK_S, now, metric.aggregation
    )
    samples = combined(metric, answer.series).get(metric.series)
    return samples[-1].value if samples else None
