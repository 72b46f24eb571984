"""The profile of a job out of the raw logs of its runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from loadtest.analysis.analyse import Analysis
from loadtest.profile.laws import fit, median
from loadtest.profile.model_calls import ModelCalls, model_calls
from loadtest.profile.profile import JobProfile, Law, Level
from loadtest.profile.sizes import calls_of_backlog
from loadtest.raw_log import RawLog
from loadtest.statistics.jackknife import blocks_of
from loadtest.statistics.percentiles import quantile

# Of the messages of a rate, that must be answered by so long after its end for the job to keep up.
_KEPT_UP, _AFTER_S = 0.99, 1.0
# Calls without a pause before the next are averaged over so many, or fewer where a run has few: the results
# of all batches of a bundle are published after its last, which would else look slow, and the others fast.
_AVERAGED, _LEAST_AVERAGES = 10, 5

ENDPOINT_SHARES = (
    "the job waits for a place among its calls of the endpoint, which cannot be told from decoding"
)


class ProfileDataError(Exception):
    """The runs say too little for a profile; the message says of what, and what to do."""


@dataclass
class JobRuns:
    """What was measured of a job.

    Attributes:
        settled: Whether its calls took a steady time by the end of its warm-up.
        idle: Its processor time in cores over some seconds, several times, while nothing came.
        levels: Runs at constant rates, ascending, each with its analysis, whose warm-up is cut.
        backlogs: Runs in each of which a job with batches of its own size went through a backlog.
        failed: Why there is none of a size.
        left_out: Which sizes were not tried, and why; empty where all were.
        ended: What ended the runs early; empty where nothing did.
    """

    settled: bool = True
    idle: list[float] = field(default_factory=list)
    levels: list[tuple[RawLog, Analysis]] = field(default_factory=list)
    backlogs: list[RawLog] = field(default_factory=list)
    failed: dict[int, str] = field(default_factory=dict)
    left_out: str = ""
    ended: str = ""


def job_profile(mode: Literal["local", "endpoint"], flags: str, runs: JobRuns) -> JobProfile:
    """Return the profile of one job.

    Args:
        mode: Of inference.
        flags: Of the job.
        runs: Of it.

    Raises:
        ProfileDataError: They have batches of one size only.
    """
    local = mode == "local"
    at_rates = [_at_rate(*one) for one in runs.levels]
    of_backlogs = [calls_of_backlog(log, model_calls(log)) for log in runs.backlogs]
    service = _law(of_backlogs, "size", "ms")
    told_apart = service is not None
    if service is None:
        kept = [one for (log, _), one in zip(runs.levels, at_rates, strict=True) if kept_up(log)]
        service = _law(at_rates if local or not kept else kept, "size", "ms")
    if service is None:
        raise ProfileDataError(
            "no two batch sizes were seen often enough, so that no law can be fitted: give --max_batch_size "
            "above 1 (in endpoint mode, --endpoint_batch_size) after --, or more --seconds"
        )
    notes = _notes(runs, told_apart=told_apart)
    decode = rest = None
    if local:
        decode = _law(of_backlogs if told_apart else at_rates, "size", "batch_wait_ms", half=True)
        if decode is None:
            notes["decode"] = "too few results tell of their batch wait"
        rest = None if decode is None else _rest(at_rates, decode)
        if rest is None:
            notes["rest"] = (
                "too few calls followed one another without a pause: the job kept up with each rate"
            )
    else:
        notes |= dict.fromkeys(("decode", "rest"), ENDPOINT_SHARES)
    idle_cores = median(np.array(runs.idle), "cores") if runs.idle else None
    if idle_cores is None:
        notes["idle_cores"] = "the processor time of the job cannot be read here"
    processor = _processor([log for log, _ in runs.levels], 0.0 if idle_cores is None else idle_cores.value)
    if processor is None:
        notes["processor"] = "processor time is known of too few batch sizes: give more --seconds"
    levels = [_level(*one, of_run, service) for one, of_run in zip(runs.levels, at_rates, strict=True)]
    return JobProfile(mode, flags, service, decode, rest, processor, idle_cores, levels, notes)


def _notes(runs: JobRuns, *, told_apart: bool) -> dict[str, str]:
    """Return what to doubt of the runs."""
    notes = {}
    service = [f"of batches of {size} there is nothing: {why}" for size, why in runs.failed.items()]
    if runs.left_out:
        service.append(f"batches of {runs.left_out}")
        notes["levels"] = (
            "the container refused calls of more instances than it takes, which the job then made in parts: "
            "lower --endpoint_batch_size"
        )
    if not told_apart:
        service.append(
            "batch sizes were set by the rates, not by a flag: the larger ones come at the higher rates, "
            "where calls are faster or slower for other reasons, so that b holds those, too"
        )
    if service:
        notes["service"] = "; ".join(service)
    if not runs.settled:
        doubt = "the calls of the job had not settled when its warm-up ended"
        notes["levels"] = "; ".join(filter(None, (notes.get("levels"), doubt)))
    return notes


def _at_rate(log: RawLog, analysis: Analysis) -> ModelCalls:
    """Return the calls of a run without those of its warm-up."""
    calls = model_calls(log)
    return calls.where(calls.started >= log.facts.started + analysis.warm_up.cut_s)


def _law(calls: Sequence[ModelCalls], x: str, y: str, *, half: bool = False) -> Law | None:
    """Return a law over the calls of all runs; with `half`, over (size + 1) / 2."""
    if not calls:
        return None
    size = np.concatenate([getattr(one, x) for one in calls])
    ms = np.concatenate([getattr(one, y) for one in calls])
    block = np.concatenate([blocks_of(len(one)) for one in calls])
    known = ms > 0
    return fit((size[known] + 1) / 2 if half else size[known], ms[known], block[known])


def _rest(calls: Sequence[ModelCalls], decode: Law) -> Law | None:
    """Return what the bundle thread does between a call and the next batch's decoding, by the call's size.

    Where the whole next batch was sent before a call began, the thread has not waited for it: from start to
    start it has done the call, the rest of its bundle, and the decoding and hand-over of the next. One that
    was sent while the call ran may still have been on its way from the broker.
    """
    if not calls:
        return None
    sizes, times, blocks = [], [], []
    for one in calls:
        busy = one.sent[1:] < one.started[:-1]
        following = one.size[1:]
        # All n are decoded before the call; the law of waits has the mean over them, (n + 1) / 2.
        until_call = decode.a.value + decode.b.value * following
        rest = (one.started[1:] - one.started[:-1]) * 1e3 - one.ms[:-1] - until_call
        averaged = min(max(1, int(busy.sum()) // _LEAST_AVERAGES), _AVERAGED)
        count = int(busy.sum()) // averaged
        whole = np.flatnonzero(busy)[: count * averaged].reshape(count, averaged)
        sizes.append(one.size[whole].mean(axis=1))
        times.append(rest[whole].mean(axis=1))
        blocks.append(blocks_of(count))
    return fit(np.concatenate(sizes), np.concatenate(times), np.concatenate(blocks))


def _processor(logs: Sequence[RawLog], idle_cores: float) -> Law | None:
    """Return processor time of a batch by its size: a run's own, second by second."""
    sizes, times, blocks = [], [], []
    for log in logs:
        one = model_calls(log)
        at, used = log.values("job/cpu_s")
        if len(at) < 2:
            continue
        # By the call's end; what is encoded and published later falls into the next second, and evens out.
        number, _ = np.histogram(one.started + one.ms / 1e3, at)
        requests, _ = np.histogram(one.started + one.ms / 1e3, at, weights=one.size)
        busy = number > 0
        gaps, growth = np.diff(at)[busy], np.diff(used)[busy]
        number, requests = number[busy], requests[busy]
        each = (growth - idle_cores * gaps) * 1e3 / number
        # All seconds of a run are near one mean size: they are taken as of that, so that the second's own
        # noise in its size does not flatten the law.
        if not len(number):
            continue
        sizes.append(np.full(len(number), requests.sum() / number.sum()))
        times.append(each)
        blocks.append(blocks_of(len(number)))
    if not sizes:
        return None
    size, ms, block = np.concatenate(sizes), np.concatenate(times), np.concatenate(blocks)
    known = ms > 0
    return fit(size[known], ms[known], block[known])


def kept_up(log: RawLog) -> bool:
    """Return whether the job answered what was sent about as fast as it was sent."""
    answered_at = np.fmin(log.messages.result_at, log.messages.dead_letter_at)
    in_time = answered_at <= log.facts.started + log.facts.duration + _AFTER_S
    return bool(in_time.mean() >= _KEPT_UP)


def _level(log: RawLog, analysis: Analysis, calls: ModelCalls, service: Law) -> Level:
    messages = log.messages
    answered_at = np.fmin(messages.result_at, messages.dead_letter_at)
    n = int((~np.isnan(answered_at)).sum())
    busy_s = max(float(np.nanmax(answered_at)) - log.facts.started, log.facts.duration) if n else np.nan
    stages = {one.name: one.mean for one in analysis.stages if one.name != "server"}
    latency = {
        name: figure.value
        for name, figure in analysis.corrected.figures.items()
        if name in ("p50", "p99") and figure.value is not None
    }
    return Level(
        offered=len(messages) / log.facts.duration,
        answered=n / busy_s if n else 0.0,
        kept_up=kept_up(log),
        valid=analysis.validity.valid,
        batch_size=float(calls.size.mean()) if len(calls) else 0.0,
        latency_ms=latency,
        stages_ms=stages,
        processor_ms=_of_each_process(log, n),
        service_ratio=_over_law(calls, service),
    )


def _over_law(calls: ModelCalls, service: Law) -> float | None:
    """Return the median of a call's time over that of the law; None without a call that has one."""
    expected = service.a.value + service.b.value * calls.size
    known = expected > 0
    return quantile(calls.ms[known] / expected[known], 0.5) if known.any() else None


def _of_each_process(log: RawLog, answered: int) -> dict[str, float]:
    """Return processor time of a message in each process, what it uses while idle included."""
    found: dict[str, float] = {}
    for name in log.series:
        process, _, quantity = name.rpartition("/")
        used = log.values(name)[1]
        if quantity != "cpu_s" or len(used) < 2 or not answered:
            continue
        whose = "driver" if process.startswith("sender-") else process
        found[whose] = found.get(whose, 0.0) + float(np.diff(used).clip(0).sum()) * 1e3 / answered
    return found
