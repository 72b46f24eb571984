"""The metrics that Google Cloud keeps of a run, each waited for as long as it may be invisible."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from loadtest.clock import Clock
from loadtest.metrics.cloud_metrics import Metric, Watched
from loadtest.metrics.combining import combined
from loadtest.metrics.monitoring_api import Answer, MonitoringApi, ReadError
from loadtest.raw_log import Sample, Series

# The sampling of all metrics whose list states one.
SAMPLING_S = 60.0
# Before the run, so that what holds at its start is known: two samplings.
_BEFORE_S = 2 * SAMPLING_S
_LONGEST_PAUSE_S = 30.0


@dataclass(frozen=True)
class CloudSamples:
    """What was read.

    Attributes:
        series: All that was asked for; where something is missing, with the reason.
        samples: In the order of time.
    """

    series: tuple[Series, ...]
    samples: tuple[Sample, ...]


class CloudMetrics:
    """Reads the metrics of a run once it has ended."""

    def __init__(
        self,
        api: MonitoringApi,
        watched: Sequence[Watched],
        clock: Clock,
        wait: Callable[[float], bool] | None = None,
        tell: Callable[[str], None] = lambda text: None,
    ) -> None:
        """Prepare; nothing is called yet.

        Args:
            api: What answers.
            watched: What to read.
            clock: Of the run.
            wait: Waits so many seconds; returns True to go on with what there is, as `Event.wait` does.
            tell: Gets a line before each wait: what for, and until when at most.
        """
        self._api = api
        self._watched = watched
        self._clock = clock
        self._wait = wait or threading.Event().wait
        self._tell = tell

    def collect(self, start: float, end: float) -> CloudSamples:
        """Return what there is of a run from `start` to `end` (epoch seconds), and the values around it.

        It returns as soon as each metric has a value of the run's end or later, or as its own delay, counted
        from the first sampling after the end, has passed.
        """
        readings = [_Reading(watched, metric) for watched in self._watched for metric in watched.metrics]
        pending = readings
        while pending:
            asked_at = self._clock()
            for reading in pending:
                reading.ask(self._api, start, end)
            pending = [reading for reading in pending if not reading.settled(end, asked_at)]
            if not pending:
                break
            left = min(reading.deadline(end) for reading in pending) - self._clock()
            last = max(reading.deadline(end) for reading in pending)
            names = ", ".join(reading.metric.series for reading in pending)
            self._tell(f"Cloud Monitoring does not show yet, and until {_time(last)} at most: {names}")
            if self._wait(min(max(left, 1.0), _LONGEST_PAUSE_S)):
                break
        series: list[Series] = []
        samples: list[Sample] = []
        for reading in readings:
            of_reading = reading.result(end, self._clock())
            series += of_reading.series
            samples += of_reading.samples
        samples.sort(key=lambda sample: sample.at)
        return CloudSamples(tuple(series), tuple(samples))


class _Reading:
    """One metric, with the last answer."""

    def __init__(self, watched: Watched, metric: Metric) -> None:
        self.metric = metric
        self._watched = watched
        self._answer = Answer((), "")
        self._error: ReadError | None = None

    def deadline(self, end: float) -> float:
        """Return when a value of the run's end must be visible: a sampling and a delay later."""
        return end + SAMPLING_S + self.metric.delay_s

    def ask(self, api: MonitoringApi, start: float, end: float) -> None:
        """Ask again; an earlier answer stays where this fails."""
        try:
            self._answer = api.list_time_series(
                self._watched.project,
                self._watched.filter(self.metric),
                start - _BEFORE_S,
                end + SAMPLING_S,
                self.metric.aggregation,
            )
            self._error = None
        except ReadError as error:
            self._error = error

    def settled(self, end: float, asked_at: float) -> bool:
        """Return whether asking again would bring nothing more; the last answer is of `asked_at`."""
        if self._error is not None and self._error.final:
            return True
        whole = self._error is None and not self._answer.incomplete and self._reaches(end)
        return whole or asked_at >= self.deadline(end)

    def result(self, end: float, now: float) -> CloudSamples:
        """Return the series, with what is missing of them, and their samples."""
        metric = self.metric
        found = combined(metric, self._answer.series)
        why = self._missing(end, now)
        if not found:
            nothing = Series(metric.series, metric.unit, "Cloud Monitoring", f"not available: {why}")
            return CloudSamples((nothing,), ())
        unavailable = f"partly not available: {why}" if why else ""
        return CloudSamples(
            tuple(Series(name, metric.unit, "Cloud Monitoring", unavailable) for name in found),
            tuple(sample for samples in found.values() for sample in samples),
        )

    def _reaches(self, end: float) -> bool:
        """Return whether each of its series has a value of the run's end or later."""
        last = [series.points[-1].end for series in self._answer.series if series.points]
        return bool(last) and min(last) >= end

    def _missing(self, end: float, now: float) -> str:
        """Return what is missing and why; empty where nothing is, as far as can be told."""
        if self._error is not None:
            return str(self._error)
        if self._answer.incomplete:
            return f"Cloud Monitoring answered in part: {self._answer.incomplete}"
        delay = f"its delay of up to {self.metric.delay_s:g} s"
        waited = f"{delay} has passed" if now >= self.deadline(end) else f"{delay} had not passed yet"
        last = [series.points[-1].end for series in self._answer.series if series.points]
        if not last:
            return f"{self._watched.what} has no value of {self.metric.type}; {waited}"
        # Without a stated sampling, values may come with changes or requests alone: once its delay has
        # passed, nothing is known to be missing.
        expected = self.metric.period_s is not None or now < self.deadline(end)
        if expected and max(last) < end:
            return f"nothing after {_time(max(last))}; {waited}"
        return ""


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%H:%M:%S UTC")
