"""Each message that was due, on one time axis, and how late its answer was by two clocks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from loadtest.raw_log import Floats, RawLog

Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Timeline:
    """The messages that were due before the run ended, in the order in which they were due.

    Times are seconds since the schedule's zero, NaN where there is none.

    Attributes:
        duration: Seconds of the schedule that were run: fewer than it has if the run was cut short.
        ended_at: When collection ended.
        intended: [n] when each was due.
        sent_at: [n] when it was sent.
        answered_at: [n] its first answer, a result or a dead letter.
        missing: [n] whether it has no answer.
        corrected: [n] seconds from when it was due to its answer; of a missing one the time that it was
            waited for, or the deadline if that is longer.
        uncorrected: [n] the same from when it was sent; NaN where it is not known to have been sent.
        order: [n] its row in the raw log.
    """

    duration: float
    ended_at: float
    intended: Floats
    sent_at: Floats
    answered_at: Floats
    missing: Bools
    corrected: Floats
    uncorrected: Floats
    order: NDArray[np.intp]


def timeline(log: RawLog, deadline_s: float | None) -> Timeline:
    """Return the messages of a run that were due.

    A message that was due and never sent is missing: leaving it out would hide that the driver, or the
    system's back pressure, held it back. Only what a run cut short had not come to is left out.

    Args:
        log: Of the run.
        deadline_s: See `Settings`.
    """
    facts, messages = log.facts, log.messages
    intended = messages.intended - facts.started
    sent_at = messages.sent_at - facts.started
    answered_at = np.fmin(messages.result_at, messages.dead_letter_at) - facts.started
    ended_at = facts.ended_at - facts.started
    duration = facts.duration
    if facts.partial is not None:
        duration = min(duration, float(np.nanmax(sent_at, initial=0.0)))
    order = np.argsort(intended, kind="stable")
    order = order[intended[order] <= duration]
    intended, sent_at, answered_at = intended[order], sent_at[order], answered_at[order]
    missing = np.isnan(answered_at)
    return Timeline(
        duration=duration,
        ended_at=ended_at,
        intended=intended,
        sent_at=sent_at,
        answered_at=answered_at,
        missing=missing,
        corrected=_waited(intended, answered_at, missing, ended_at, deadline_s),
        uncorrected=_waited(sent_at, answered_at, missing, ended_at, deadline_s),
        order=order,
    )


def _waited(
    since: Floats, answered_at: Floats, missing: Bools, ended_at: float, deadline_s: float | None
) -> Floats:
    waited = np.where(missing, ended_at, answered_at) - since
    return np.where(missing, np.maximum(waited, deadline_s or 0.0), waited)
