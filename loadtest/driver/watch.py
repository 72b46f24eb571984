"""The progress of a run whose schedule is being sent."""

from __future__ import annotations

import numpy as np

from loadtest.clock import Clock
from loadtest.display import Progress
from loadtest.driver.answers import Answers
from loadtest.driver.senders import Senders

RECENT = 10_000  # requests whose median latency is shown live


class Watch:
    """What a display is shown of a run.

    Attributes:
        total: Messages of the schedule.
        last_due: When the last of them is due, epoch seconds.

    Args:
        senders: Of the schedule.
        answers: What has come back.
        clock: Epoch seconds.
        drain_timeout: Seconds for which stragglers are waited for.
    """

    def __init__(self, senders: Senders, answers: Answers, clock: Clock, drain_timeout: float) -> None:
        self._drain_timeout = drain_timeout
        self._senders = senders
        self._answers = answers
        self._clock = clock
        self._intended = answers.intended
        self.total = len(self._intended)
        self.last_due = float(self._intended[-1]) if self.total else clock()
        self._begun = clock()
        self._before = (self._begun, 0)
        self._rate = 0.0

    def progress(self) -> Progress:
        """Return where the run stands."""
        now, answered, sent = self._clock(), self._answers.answered, self._senders.sent
        elapsed = now - self._before[0]
        if elapsed >= 1.0:
            self._rate = (answered - self._before[1]) / elapsed
            self._before = (now, answered)
        recent = slice(max(0, sent - RECENT), sent)
        first = np.fmin(self._answers.result_at[recent], self._answers.dead_letter_at[recent])
        latency = (first - self._intended[recent])[~np.isnan(first)]
        draining = sent == self.total
        return Progress(
            phase="draining" if draining else "sending",
            elapsed=now - self._begun,
            total=self.total,
            sent=sent,
            received=self._answers.received,
            dead_lettered=self._answers.dead_lettered,
            duplicates=self._answers.duplicates,
            outstanding=max(0, sent - answered),
            rate=self._rate,
            left=self.last_due + (self._drain_timeout if draining else 0.0) - now,
            p50_ms=float(np.median(latency)) * 1e3 if len(latency) else None,
        )
