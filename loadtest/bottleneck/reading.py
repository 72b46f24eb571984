"""Evidence out of a raw log."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from loadtest.bottleneck.evidence import Evidence
from loadtest.bottleneck.job_flags import Limits, limits
from loadtest.bottleneck.job_log import ATTEMPTS, CONGESTED, THROTTLED, WAITED
from loadtest.bottleneck.thresholds import FEWEST_CALLS, HAND_OVER_S, LATE_S, QUICK_S, SPREAD
from loadtest.raw_log import Floats, RawLog
from loadtest.statistics.stability import judge

# `RunFacts.system["kind"]` of a job on Beam's in-process engine, which runs one bundle at a time.
LOCAL_JOB = "local job"

_RESPONSES = "endpoint/responses/"
_UPSCALE = "job/scaling/Upscale/"


def evidence(log: RawLog, start: float, end: float, latency_limit_s: float = QUICK_S) -> Evidence:
    """Return what a run tells of its limit.

    Args:
        log: Of the run.
        start: Of the window, seconds since the schedule's zero, after the warm-up.
        end: Of the window.
        latency_limit_s: What the mean latency is held against; the tightest objective, where there is one.

    Raises:
        ValueError: The window is too short for a slope (under 1 s), or no message is due in it; or the flags
            of the job in `log.facts` are none.
    """
    window = _Window.of(log, log.facts.started + start, log.facts.started + end)
    messages = log.messages
    due = window.due
    stability = judge(messages.intended, window.answered_at, window.start, window.end)
    seconds = window.end - window.start
    by_end = messages.intended < window.end
    late = (np.where(np.isnan(messages.sent_at), log.facts.ended_at, messages.sent_at) - messages.intended)[
        due
    ]
    until = np.where(np.isnan(window.answered_at), log.facts.ended_at, window.answered_at)
    flags = limits(log.facts.system["flags"]) if "flags" in log.facts.system else None
    local = log.facts.system.get("kind") == LOCAL_JOB
    queue, batch_wait, inference, server = (column / 1e3 for column in messages.stages_ms.T)
    rest = messages.result_at - messages.sent_at - (queue + batch_wait + inference)
    calls = _Calls.of(messages.batch_size, inference, window.answered)
    in_flight = None if calls is None else calls.busy_s / window.busy_s
    endpoint = flags is not None and flags.endpoint
    processes = _processes(log, flags, window, local=local) if flags else None
    decodes_apart = local and flags is not None and not endpoint
    return Evidence(
        messages=int(due.sum()),
        offered=float(due.sum()) / seconds,
        answered=float(window.answered.sum()) / window.busy_s,
        achieved=float((messages.sent_at[by_end] <= window.end + LATE_S).mean()),
        growth=stability.relative,
        detectable_growth=stability.detectable_overload,
        latency_s=float((until - messages.intended)[due].mean()),
        latency_limit_s=latency_limit_s,
        late_s=float(late.mean()),
        queue_s=_mean(queue[due]),
        batch_wait_s=_mean(batch_wait[due]),
        inference_s=_mean(inference[due]),
        server_s=_mean(server[due]),
        rest_s=_mean(rest[due]),
        batch_size=None if calls is None else calls.mean_size,
        batch_limit=None if flags is None else flags.batch,
        fixed_share=None if calls is None else calls.fixed_share,
        decoding=_decoding(batch_wait, messages.batch_size, window) if decodes_apart else None,
        model_calls=None if flags is None or endpoint else in_flight,
        # A process runs one batch at a time, on a GPU two of which one is copied.
        model_limit=None if endpoint else processes,
        endpoint_calls=in_flight if endpoint else None,
        endpoint_limit=flags.concurrency * processes if flags and processes and endpoint else None,
        bundles_limit=1 if local else None,
        waiting=_waiting(log, window) if local else None,
        throttled=_throttled(log),
        refused=_refused(log, window),
        processes=processes,
        drivers=log.facts.drivers,
        cpus=log.facts.cpus,
        job_cores=_cores(log, "job", window),
        broker_cores=_cores(log, "broker", window),
        driver_cores=_driver_cores(log, window),
        container_cores=_cores(log, "container", window),
        worker_utilisation=_sampled(log, "job/cpu", window),
        workers=_sampled(log, "job/workers", window),
        target_workers=_sampled(log, "job/target_workers", window),
        most_workers=None if flags is None else flags.most_workers,
        upscale_decisions=_upscale_decisions(log, window),
        replicas=_sampled(log, "endpoint/replicas", window),
    )


@dataclass(frozen=True)
class _Window:
    """Which messages and which seconds count; times are epoch seconds.

    Attributes:
        start: Of the window.
        end: Of the window.
        until: When the last message due in it was answered, at least `end`. A job that does not keep up is
            busy until then, and publishes by bundles of seconds, which the window's end would cut.
        due: [n] the messages due in the window.
        answered_at: [n] when each was answered first; NaN for never.
        answered: [n] those answered between `start` and `until`.
    """

    start: float
    end: float
    until: float
    due: NDArray[np.bool_]
    answered_at: Floats
    answered: NDArray[np.bool_]

    @classmethod
    def of(cls, log: RawLog, start: float, end: float) -> _Window:
        messages = log.messages
        answered_at = np.fmin(messages.result_at, messages.dead_letter_at)
        due = (messages.intended >= start) & (messages.intended < end)
        until = max(end, np.nanmax(answered_at[due], initial=end))
        answered = (answered_at >= start) & (answered_at <= until)
        return cls(start, end, float(until), due, answered_at, answered)

    @property
    def busy_s(self) -> float:
        return self.until - self.start


@dataclass(frozen=True)
class _Calls:
    """The calls of model or endpoint that the results of a window tell of.

    Attributes:
        busy_s: Seconds of all of them, added up.
        mean_size: Requests in a call.
        fixed_share: As in `Evidence`.
    """

    busy_s: float
    mean_size: float
    fixed_share: float | None

    @classmethod
    def of(cls, size: Floats, seconds: Floats, chosen: NDArray[np.bool_]) -> _Calls | None:
        """Return them; each of the b requests of a call of size b counts as one b-th of it."""
        known = chosen & (size >= 1) & ~np.isnan(seconds)
        if not known.any():
            return None
        sizes, times = size[known], seconds[known]
        calls = 1 / sizes
        mean_size = len(sizes) / float(calls.sum())
        return cls(float((times * calls).sum()), mean_size, _fixed_share(sizes, times, calls, mean_size))


def _fixed_share(sizes: Floats, seconds: Floats, calls: Floats, at: float) -> float | None:
    """Return a / (a + b x at) of the law a + b x size, by least squares, with the lower end of a.

    That is two standard errors below the fit's: a few calls of unlike speed must not look like fixed costs.
    None where sizes are alike, or the calls too few.
    """
    count = float(calls.sum())
    if len(np.unique(sizes)) < 3 or sizes.max() < SPREAD * sizes.min() or count < FEWEST_CALLS:
        return None
    # polyfit squares its weights, and takes each request for a measurement, of which a call is only one.
    (slope, fixed), covariance = np.polyfit(sizes, seconds, 1, w=np.sqrt(calls), cov=True)
    error = np.sqrt(covariance[1, 1] * (len(sizes) - 2) / (count - 2))
    whole = float(fixed + slope * at)
    return min(1.0, max(0.0, float(fixed - 2 * error) / whole)) if whole > 0 else None


def _decoding(batch_wait: Floats, size: Floats, window: _Window) -> float | None:
    """Return the share of the time in which a thread decodes that does nothing else meanwhile.

    It decodes the n requests of a call one after the other, each in d seconds, and then makes the call. A
    request's batch wait begins with its own decoding: it is d, 2 d … n d, on average d (n + 1) / 2, and the
    batch's hand-over.
    """
    known = window.answered & (size >= 1) & ~np.isnan(batch_wait)
    if not known.any():
        return None
    alone = (batch_wait[known] - HAND_OVER_S).clip(0)
    decoding_s = float((2 * alone / (size[known] + 1)).sum())
    # A bundle that is answered early in the window was decoded before it.
    return min(1.0, decoding_s / window.busy_s)


def _processes(log: RawLog, flags: Limits, window: _Window, *, local: bool) -> int | None:
    if local:
        return 1
    found = _sampled(log, "job/workers" if flags.single_process else "job/vcpus", window)
    return None if found is None else max(1, round(found))


def _waiting(log: RawLog, window: _Window) -> float | None:
    # The job tells of its whole life: so it is held against the whole run, to its last answer.
    waited = _last(log, WAITED)
    busy_s = float(np.nanmax(window.answered_at, initial=window.end)) - log.facts.started
    return None if waited is None else min(1.0, waited / busy_s)


def _throttled(log: RawLog) -> float | None:
    waited, throttled = _last(log, WAITED), _last(log, THROTTLED)
    return None if not waited or throttled is None else min(1.0, throttled / waited)


def _refused(log: RawLog, window: _Window) -> float | None:
    attempts, congested = _last(log, ATTEMPTS), _last(log, CONGESTED)
    if attempts and congested is not None:
        return congested / attempts
    answers = {name: _count(log, name, window) for name in log.series if name.startswith(_RESPONSES)}
    whole = sum(answers.values())
    return answers.get(f"{_RESPONSES}429", 0.0) / whole if whole else None


def _upscale_decisions(log: RawLog, window: _Window) -> int | None:
    names = [name for name in log.series if name.startswith(_UPSCALE)]
    return round(sum(_count(log, name, window) for name in names)) if names else None


def _count(log: RawLog, name: str, window: _Window) -> float:
    at, counts = log.values(name)
    return float(counts[(at >= window.start) & (at <= window.until)].sum())


def _cores(log: RawLog, process: str, window: _Window) -> float | None:
    """Return the processor time of a process over the window, in cores; None for under two samples."""
    at, values = log.values(f"{process}/cpu_s")
    inside = (at >= window.start) & (at <= window.until)
    at, values = at[inside], values[inside]
    if len(at) < 2:
        return None
    # A process that was started again begins at 0.
    return float(np.diff(values).clip(0).sum() / (at[-1] - at[0]))


def _driver_cores(log: RawLog, window: _Window) -> float | None:
    names = [name.partition("/")[0] for name in log.series if name.endswith("/cpu_s")]
    found = [_cores(log, name, window) for name in names if name == "driver" or name.startswith("sender-")]
    known = [cores for cores in found if cores is not None]
    return sum(known) if known else None


def _sampled(log: RawLog, name: str, window: _Window) -> float | None:
    at, values = log.values(name)
    return _mean(values[(at >= window.start) & (at <= window.until)])


def _last(log: RawLog, name: str) -> float | None:
    values = log.values(name)[1]
    return float(values[-1]) if len(values) else None


def _mean(values: Floats) -> float | None:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else None
