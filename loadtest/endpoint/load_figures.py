"""What a load says: rates, latencies from the moment that calls were due, failures, and whether it counts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from loadtest.analysis.validity import ACHIEVED_LEAST, schedule_limit_ms
from loadtest.endpoint.caller import NO_ANSWER, TIME_OUT
from loadtest.endpoint.calls import GIVEN_UP, UNSENT, Calls, by_failure
from loadtest.raw_log import Floats
from loadtest.search.objectives import Figure, Tier
from loadtest.search.probes import Observation
from loadtest.statistics.percentiles import Guard, guard, interval, quantile
from loadtest.statistics.stability import Stability, judge

QUANTILES: Mapping[str, float] = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p99.9": 0.999}

# Failures without an answer; all others are errors that the endpoint answered with.
LOST = frozenset({TIME_OUT, NO_ANSWER, UNSENT, GIVEN_UP})


@dataclass(frozen=True)
class Validity:
    """Whether the driver kept its schedule.

    Attributes:
        valid: Whether the figures say something of the endpoint, and not only of the driver.
        reasons: Why not, in words.
        achieved: Share of the calls due that the driver was done with by the schedule's end, 0 to 1. A call
            that waits for a connection is the endpoint's, not the driver's.
        schedule_error_p99_ms: p99 of how late the driver was, without the wait for a connection; None where
            nothing was sent.
        limit_ms: On it.
    """

    valid: bool
    reasons: tuple[str, ...]
    achieved: float
    schedule_error_p99_ms: float | None
    limit_ms: float


@dataclass(frozen=True)
class LoadFigures:
    """Of one load by a schedule, the warm-up left out.

    Attributes:
        rows: Instances in each call.
        calls: Due.
        served: Of them.
        failures: Of the others, by kind, the commonest first.
        reasons: The first reason of each kind.
        retry_after_s: Longest wait that a refusal asked for; None where none did.
        offered_rate: Calls a second that were due.
        served_rate: Calls a second that were served within the schedule's time.
        latency_ms: By percentile, and "max": from the moment that a call was due; one that was not served
            counts as the deadline at least.
        latency_p99_ms_low: Lower end of the 95 % interval of the p99; None for fewer than 20 calls.
        uncorrected_ms: The same percentiles of served calls, from when each was written to the socket: what
            a client that waits for answers sees.
        guards: Whether there are enough calls for each percentile.
        waited: Calls that waited for a connection that was free.
        new_connections: That were opened meanwhile.
        stable: Whether the calls in flight did not pile up; None where the load is too short to tell.
        backlog_slope: Growth of the calls in flight over the rate; None likewise.
        driver_cpu: Processor time of the driver over the time, in cores.
        validity: Whether the driver kept its schedule.
        partial: What ended it early; empty for a whole one.
    """

    rows: int
    calls: int
    served: int
    failures: Mapping[str, int]
    reasons: Mapping[str, str]
    retry_after_s: float | None
    offered_rate: float
    served_rate: float
    latency_ms: Mapping[str, float]
    latency_p99_ms_low: float | None
    uncorrected_ms: Mapping[str, float]
    guards: Mapping[str, Guard]
    waited: int
    new_connections: int
    stable: bool | None
    backlog_slope: float | None
    driver_cpu: float
    validity: Validity
    partial: str


def judge_driver(calls: Calls, tightest_s: float | None) -> Validity:
    """Return whether a load was the schedule's, and not the driver's.

    Args:
        calls: Of the load, its warm-up included: a driver that lags there has not caught up by magic.
        tightest_s: Shortest latency that is asked for; None where none is.
    """
    limit_ms = schedule_limit_ms(tightest_s)
    handed = calls.sent_at - calls.waited_s
    # A call that was never sent was waiting for a connection.
    done = np.isnan(handed) | (handed <= calls.start + calls.duration + limit_ms / 1e3)
    achieved = float(done.mean()) if len(calls) else 0.0
    reasons = []
    if achieved < ACHIEVED_LEAST:
        reasons.append(
            f"the driver sent {achieved:.1%} of the schedule in its time, {ACHIEVED_LEAST:.0%} are needed"
        )
    errors_ms = calls.schedule_error_s * 1e3
    errors_ms = errors_ms[~np.isnan(errors_ms)]
    p99 = quantile(errors_ms, 0.99) if len(errors_ms) else None
    if p99 is not None and p99 > limit_ms:
        reasons.append(
            f"the driver sent late: p99 of the schedule error {p99:.2f} ms, at most {limit_ms:g} ms"
        )
    return Validity(not reasons, tuple(reasons), achieved, p99, limit_ms)


def figures_of(calls: Calls, tightest_s: float | None) -> LoadFigures:
    """Return the figures of a load.

    Args:
        calls: Of which at least one is due after the warm-up.
        tightest_s: See `judge_driver`.

    Raises:
        ValueError: None is.
    """
    measured = calls.measured
    latency = calls.latency_s[measured]
    service = calls.service_s[measured]
    service = service[~np.isnan(service)]
    window_start, window_end = calls.start + calls.warmup, calls.start + calls.duration
    window = max(window_end - window_start, 1e-9)
    answered = calls.ended_at[calls.served]
    in_window = int(((answered >= window_start) & (answered < window_end)).sum())
    asked = calls.retry_after_s[measured & (calls.retry_after_s > 0)]
    p99 = interval(latency, 0.99)
    stability = stability_of(calls)
    return LoadFigures(
        rows=calls.rows,
        calls=int(measured.sum()),
        served=int((calls.served & measured).sum()),
        failures=by_failure(calls),
        reasons=calls.reasons,
        retry_after_s=float(asked.max()) if len(asked) else None,
        offered_rate=float(measured.sum()) / window,
        served_rate=in_window / window,
        latency_ms=_percentiles_ms(latency),
        latency_p99_ms_low=None if p99 is None else p99.low * 1e3,
        uncorrected_ms=_percentiles_ms(service) if len(service) else {},
        guards={name: guard(len(latency), q) for name, q in QUANTILES.items()},
        waited=int((calls.waited_s[measured] - np.nan_to_num(calls.connect_s[measured]) > 0).sum()),
        new_connections=int((~np.isnan(calls.connect_s)).sum()),
        stable=None if stability is None else stability.stable,
        backlog_slope=None if stability is None else stability.relative,
        driver_cpu=calls.cpu_s / max(calls.ended - calls.start, 1e-9),
        validity=judge_driver(calls, tightest_s),
        partial=calls.partial,
    )


def stability_of(calls: Calls) -> Stability | None:
    """Return whether calls in flight piled up; None where the load is too short to tell.

    A refused call has left: it is in the latencies and among the errors.
    """
    try:
        return judge(calls.intended, calls.ended_at, calls.start + calls.warmup, calls.start + calls.duration)
    except ValueError:
        return None


def observation_of(rate: float, calls: Calls, tier: Tier) -> Observation:
    """Return what a probe says to a search.

    Args:
        rate: Offered, calls a second.
        calls: Of the probe, long enough for `stability_of`.
        tier: Of the search.

    Raises:
        ValueError: The probe is too short.
    """
    latency = calls.latency_s[calls.measured]
    stability = judge(
        calls.intended, calls.ended_at, calls.start + calls.warmup, calls.start + calls.duration
    )
    return tier.observe(rate, objective_figures(calls, stability), len(latency), stability)


def objective_figures(calls: Calls, stability: Stability | None) -> dict[str, Figure]:
    """Return each figure that an objective may limit, in the units of `objectives.Figure`."""
    latency = calls.latency_s[calls.measured]
    found = by_failure(calls)
    lost = sum(count for failure, count in found.items() if failure in LOST)
    figures = {name: _figure(latency, q) for name, q in QUANTILES.items()}
    figures["mean"] = Figure(float(latency.mean()))
    figures["lost"] = Figure(lost)
    figures["errors"] = Figure(sum(found.values()) - lost)
    figures["achieved"] = Figure(100 * judge_driver(calls, None).achieved)
    figures["backlog_slope"] = Figure(math.nan if stability is None else 100 * stability.relative)
    return figures


def meets(calls: Calls, tier: Tier) -> bool:
    """Return whether a load meets all objectives."""
    figures = objective_figures(calls, stability_of(calls))
    n = int(calls.measured.sum())
    return all(objective.met(figures[objective.metric], n) for objective in tier.objectives)


def _figure(latency: Floats, q: float) -> Figure:
    found = interval(latency, q)
    return Figure(quantile(latency, q), math.nan if found is None else found.standard_error)


def _percentiles_ms(seconds: Floats) -> dict[str, float]:
    values = {name: quantile(seconds, q) * 1e3 for name, q in QUANTILES.items()}
    return values | {"max": float(seconds.max()) * 1e3}
