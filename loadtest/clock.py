"""One clock for intended, sent and collected times, so that their differences mean something."""

from __future__ import annotations

import time
from collections.abc import Callable

Clock = Callable[[], float]  # returns epoch seconds, with a fraction


def epoch_clock(wall: Clock = time.time, monotonic: Clock = time.monotonic) -> Clock:
    """Return a clock of epoch seconds that never jumps.

    Wall time is read once, here; from then on only the monotonic clock advances it. A step of the wall clock
    (NTP, a suspended laptop) during a run would otherwise show up as latency, even as negative latency.
    A float64 of epoch seconds resolves 0.24 µs, far below what is measured.
    """
    anchor = wall() - monotonic()
    return lambda: anchor + monotonic()
