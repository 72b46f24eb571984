"""Every figure of a run, from its raw log."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from loadtest.analysis import latency, verdict
from loadtest.analysis.counts import Counts, count
from loadtest.analysis.figure import Figure
from loadtest.analysis.limit import limit_of
from loadtest.analysis.per_second import PerSecond, per_second
from loadtest.analysis.resources import Resource, resources
from loadtest.analysis.scaling import Scaling, scaling_marks, scalings
from loadtest.analysis.settings import Event, Settings
from loadtest.analysis.stages import Batches, Stage, batches, stage_times, stages
from loadtest.analysis.timeline import Timeline, timeline
from loadtest.analysis.validity import Validity, judge_driver
from loadtest.analysis.window import Regime, WarmUp, regimes, warm_up
from loadtest.bottleneck.diagnosis import Diagnosis
from loadtest.raw_log import RawLog, RunFacts
from loadtest.statistics import littles_law, stability
from loadtest.statistics.littles_law import LittlesLaw
from loadtest.statistics.stability import Stability

# Fewer messages, or a shorter window, say nothing of a slope.
_LEAST_MESSAGES = 20
_LEAST_SECONDS = 3.0


@dataclass(frozen=True)
class Analysis:
    """All figures of a run. Times are seconds since the schedule's zero.

    Attributes:
        facts: Of the run, as in its raw log.
        settings: What the analysis was told.
        verdict: In words.
        validity: Of the driver.
        warm_up: What was cut.
        window: Start and end of what the figures are of.
        counts: Of all messages, warm-up included.
        rates: offered, achieved and answered in the window, messages a second.
        corrected: Latency from when a message was due.
        uncorrected: Latency from when it was sent.
        stability: Whether the backlog grew; None where the window is too short to tell.
        littles_law: Whether messages in flight, rate and latency agree; None where it is too short.
        stages: Where the time went; empty where no result tells.
        batches: None where no result tells.
        bottleneck: What limits the run, and the change to try first; None where that cannot be told.
        regimes: The window, split where the backlog's growth changed.
        scalings: Changes of the workers or replicas that were wanted, and how long each took.
        events: Those, changes of the numbers and what the settings name, in the order of their times (epoch
            seconds).
        per_second: Series over the whole run.
        resources: Samples of processes, workers, GPUs, as series.
    """

    facts: RunFacts
    settings: Settings
    verdict: verdict.Verdict
    validity: Validity
    warm_up: WarmUp
    window: tuple[float, float]
    counts: Counts
    rates: dict[str, Figure]
    corrected: latency.Latency
    uncorrected: latency.Latency
    stability: Stability | None
    littles_law: LittlesLaw | None
    stages: tuple[Stage, ...]
    batches: Batches | None
    bottleneck: Diagnosis | None
    regimes: tuple[Regime, ...]
    scalings: tuple[Scaling, ...]
    events: tuple[Event, ...]
    per_second: PerSecond
    resources: tuple[Resource, ...]


def analyse(log: RawLog, settings: Settings) -> Analysis:
    """Return all figures of a run. The same log and settings give the same figures, to the last bit.

    Args:
        log: Of the run.
        settings: What is known beside it.
    """
    facts, messages = log.facts, timeline(log, settings.deadline_s)
    times = stage_times(log, messages)
    sizes = log.messages.batch_size[messages.order]
    series = per_second(messages, times, sizes)
    cut = warm_up(facts.schedule, facts.warmup, messages.duration, series, settings.warm_up_floor_s)
    start, end = cut.cut_s, messages.duration
    window = messages.intended >= start
    validity = judge_driver(messages, settings.tightest_objective_s)
    counts = count(log, messages, settings.deadline_s)
    rates = _rates(messages, start, end)
    corrected = latency.corrected(messages, window)
    uncorrected = latency.uncorrected(messages, window)
    enough = end - start >= _LEAST_SECONDS and int(window.sum()) >= _LEAST_MESSAGES
    steady = stability.judge(messages.intended, messages.answered_at, start, end) if enough else None
    law = littles_law.check(messages.intended, messages.answered_at, start, end) if enough else None
    found_stages = stages(times, messages.corrected * 1e3, window)
    evidence = verdict.Evidence(
        facts.partial, end - start, int(window.sum()), rates["offered"], validity, counts, corrected,
        uncorrected, steady, law, cut, found_stages,
    )  # fmt: skip
    scaled = scalings(log, messages)
    events = (*settings.events, *scaling_marks(log, scaled))
    return Analysis(
        facts=facts,
        settings=settings,
        verdict=verdict.give(evidence),
        validity=validity,
        warm_up=cut,
        window=(start, end),
        counts=counts,
        rates=rates,
        corrected=corrected,
        uncorrected=uncorrected,
        stability=steady,
        littles_law=law,
        stages=found_stages,
        batches=batches(sizes[window]),
        bottleneck=limit_of(log, (start, end), settings, valid=validity.valid) if enough else None,
        regimes=regimes(messages, series, start, end) if enough else (),
        scalings=scaled,
        events=tuple(sorted(events, key=lambda event: event.at)),
        per_second=series,
        resources=resources(log, start, end),
    )


def _rates(messages: Timeline, start: float, end: float) -> dict[str, Figure]:
    moments = {
        "offered": messages.intended,
        "achieved": messages.sent_at,
        "answered": messages.answered_at,
    }
    found = {}
    for name, times in moments.items():
        n = int(np.count_nonzero((times >= start) & (times < end)))
        found[name] = Figure(name, n / (end - start) if end > start else None, "1/s", n=n)
    return found
