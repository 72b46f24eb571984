"""One clock for intended, sent and collected times, so that their differences mean something."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

Clock = Callable[[], float]  # returns epoch seconds, with a fraction


@dataclass(frozen=True)
class EpochClock:
    """A clock of epoch seconds that never jumps; a copy of it in another process shows the same time.

    Attributes:
        anchor: The wall time at which `monotonic` was 0, epoch seconds.
        monotonic: Seconds; by default the system's, which is one for all processes.
    """

    anchor: float
    monotonic: Clock = time.monotonic

    def __call__(self) -> float:
        """Return the time."""
        return self.anchor + self.monotonic()


def epoch_clock(wall: Clock = time.time, monotonic: Clock = time.monotonic) -> EpochClock:
    """Return a clock of epoch seconds that never jumps.

    Wall time is read once, here; from then on only the monotonic clock advances it. A step of the wall clock
    (NTP, a suspended laptop) during a run would otherwise show up as latency, even as negative latency.
    A float64 of epoch seconds resolves 0.24 µs, far below what is measured.
    """
    return EpochClock(wall() - monotonic(), monotonic)
