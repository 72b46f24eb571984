"""Whether a run says anything of the system, or only of the driver."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from loadtest.analysis.timeline import Timeline

# Of the schedule, and of the moment at which a message should have left.
ACHIEVED_LEAST = 0.99
SCHEDULE_LIMIT_MS = 5.0
# Of the tightest latency that is asked for, where one is. Latencies count from when a message was due: a
# driver that is late by less makes a system look slower by a tenth at most, and never faster.
OBJECTIVE_SHARE = 0.1


@dataclass(frozen=True)
class Validity:
    """Whether the driver kept its schedule.

    Attributes:
        valid: Whether the figures may be used.
        reasons: Why not, in words.
        achieved: Share of the messages due that had been sent by the schedule's end, 0 to 1.
        schedule_error_ms: p50, p99 and max of sent - due; None where nothing was sent.
        limit_ms: On its p99.
    """

    valid: bool
    reasons: tuple[str, ...]
    achieved: float
    schedule_error_ms: dict[str, float] | None
    limit_ms: float


def schedule_limit_ms(tightest_objective_s: float | None) -> float:
    """Return how late a driver's p99 may be: a tenth of the tightest objective, 5 ms where there is none."""
    return SCHEDULE_LIMIT_MS if tightest_objective_s is None else OBJECTIVE_SHARE * tightest_objective_s * 1e3


def judge_driver(messages: Timeline, tightest_objective_s: float | None) -> Validity:
    """Return whether a run was limited by the system, and not by its driver.

    Args:
        messages: Of the run, its warm-up included: a driver that lags there has not caught up by magic.
        tightest_objective_s: See `Settings`.
    """
    limit = schedule_limit_ms(tightest_objective_s)
    reasons = []
    n = len(messages.intended)
    error = (messages.sent_at - messages.intended) * 1e3
    error = error[~np.isnan(error)]
    # What is due at the very end may leave as late as the limit.
    in_time = np.isnan(messages.sent_at) & ~messages.missing
    in_time |= messages.sent_at <= messages.duration + limit / 1e3
    achieved = float(in_time.sum() / n) if n else 0.0
    if achieved < ACHIEVED_LEAST:
        reasons.append(
            f"the driver sent {achieved * 100:.1f} % of the schedule in its time, "
            f"{ACHIEVED_LEAST * 100:g} % are needed"
        )
    spread = None
    if len(error):
        p50, p99, most = np.quantile(error, (0.5, 0.99, 1.0)).tolist()
        spread = {"p50": p50, "p99": p99, "max": most}
        if p99 > limit:
            reasons.append(f"the driver sent late: p99 {p99:.1f} ms, at most {limit:g} ms are allowed")
    return Validity(not reasons, tuple(reasons), achieved, spread, limit)
