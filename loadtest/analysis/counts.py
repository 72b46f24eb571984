"""What became of every message: none is dropped from the account."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from loadtest.analysis.timeline import Timeline
from loadtest.raw_log import RawLog


@dataclass(frozen=True)
class Counts:
    """Messages of the whole run, warm-up included.

    Attributes:
        scheduled: Messages of the schedule.
        due: Of them, before the run ended.
        sent: Of those that were due.
        unsent: Due and never sent.
        results: With a result.
        dead_letters: With a dead letter.
        answered_both: With both.
        missing: Due, with neither.
        duplicates: Answers beyond the first of each message.
        late: Answered after the deadline; None where none was given.
        negative: Answered before they were sent, by the driver's clock, or with a stage that took less than
            nothing: two clocks differ.
        clock_offset_ms: Least difference of two clocks that explains them; 0 without any.
        publish_errors: Messages whose publishing failed for good.
        foreign: Deliveries of other runs.
        unreadable_results: Results that are not a JSON object.
        unacknowledged: Deliveries that could not be acknowledged.
    """

    scheduled: int
    due: int
    sent: int
    unsent: int
    results: int
    dead_letters: int
    answered_both: int
    missing: int
    duplicates: int
    late: int | None
    negative: int
    clock_offset_ms: float
    publish_errors: int
    foreign: int
    unreadable_results: int
    unacknowledged: int


def count(log: RawLog, messages: Timeline, deadline_s: float | None) -> Counts:
    """Return the account of a run.

    Args:
        log: Of the run.
        messages: Of the same run.
        deadline_s: See `Settings`.
    """
    facts, raw = log.facts, log.messages
    has_result = ~np.isnan(raw.result_at[messages.order])
    has_dead_letter = ~np.isnan(raw.dead_letter_at[messages.order])
    # An answer can come before the driver has noted that its message left.
    sent = int((~np.isnan(messages.sent_at) | ~messages.missing).sum())
    early_s = np.nan_to_num(messages.answered_at - messages.sent_at, nan=0.0)
    stages_s = np.nan_to_num(raw.stages_ms[messages.order] / 1e3, nan=0.0)
    least = np.minimum(early_s, stages_s.min(axis=1, initial=0.0))
    late = None
    if deadline_s is not None:
        late = int((messages.corrected[~messages.missing] > deadline_s).sum())
    return Counts(
        scheduled=len(raw),
        due=len(messages.intended),
        sent=sent,
        unsent=len(messages.intended) - sent,
        results=int(has_result.sum()),
        dead_letters=int(has_dead_letter.sum()),
        answered_both=int((has_result & has_dead_letter).sum()),
        missing=int(messages.missing.sum()),
        duplicates=int(np.maximum(raw.deliveries - 1, 0).sum()),
        late=late,
        negative=int((least < 0).sum()),
        clock_offset_ms=float(max(0.0, -least.min(initial=0.0)) * 1e3),
        publish_errors=facts.publish_errors,
        foreign=facts.foreign,
        unreadable_results=facts.unreadable_results,
        unacknowledged=facts.unacknowledged,
    )
