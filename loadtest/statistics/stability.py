"""Whether a system keeps up: the slope of its backlog."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from loadtest.raw_log import Floats

STEP_S = 0.25

# Of the window, at each of its ends.
_END = 0.1

# Growth of the backlog over the rate that counts as overload. On 60,000 messages it finds a load of 1.02 in
# all of 200 M/M/1 queues, and one of 0.95 in none (`python -m benchmarks.search`); in 1,996 and 0 of 2,000.
THRESHOLD = 0.003

# A verdict on fewer messages may miss an overload of 2 %, and takes a threshold that is higher by
# sqrt(ENOUGH / n):
# noise grows so, and one message in flight at the end of 16 is no overload.
ENOUGH = 60_000


@dataclass(frozen=True)
class Stability:
    """Whether a system kept up in a window.

    Attributes:
        slope: Growth of the backlog, messages a second.
        relative: It over the rate of the window.
        stable: Whether that is at most the threshold for its number of messages.
        detectable_overload: Smallest overload that the window can tell, over the rate: 0.02 is 2 %.
    """

    slope: float
    relative: float
    stable: bool
    detectable_overload: float


def detectable_overload(messages: int) -> float:
    """Return the smallest overload that so many messages can tell: 5 / sqrt(n).

    The number of messages decides, not the seconds: 4.5 % at 12,000, 2 % at 60,000, 1 % at 250,000, by M/M/1
    queues of 100 to 200 seeds each.
    """
    return 5 / math.sqrt(messages) if messages else math.inf


def backlog(entered: Floats, left: Floats, at: Floats) -> Floats:
    """Return [m] how many messages are in the system at each of [m] times.

    Args:
        entered: [n] when each message came, seconds, in any order; NaN for never.
        left: [n] when it was answered; NaN for never.
        at: [m] times.
    """
    came = np.searchsorted(np.sort(entered), at, side="right")  # NaN sorts last
    went = np.searchsorted(np.sort(left), at, side="right")
    return (came - went).astype(np.float64)


def backlog_slope(entered: Floats, left: Floats, start: float, end: float) -> float:
    """Return how fast the backlog grows, messages a second: from the window's first tenth to its last.

    It is the mean backlog of the last tenth less that of the first, over the time between the two, sampled
    each 0.25 s. The backlog of an overloaded queue is a random walk with a drift, whose most likely value is
    the growth from end to end; least squares over all samples has 1.2 times its variance. It missed a load of
    1.02 in 12 of 2,000 M/M/1 queues of 60,000 messages, this in 4; both called 0.98 unstable in 22.

    Args:
        entered: [n] when each message came, seconds; also those before the window.
        left: [n] when it was answered; NaN for never.
        start: Of the window, after the warm-up.
        end: Of the window.

    Raises:
        ValueError: The window is too short for three samples.
    """
    at = np.arange(start, end, STEP_S)
    if len(at) < 3:
        raise ValueError(
            f"a window of {end - start:g} s is too short for the slope of a backlog: measure 1 s or more"
        )
    waiting = backlog(entered, left, at)
    tenth = max(1, round(_END * len(at)))
    growth = float(waiting[-tenth:].mean() - waiting[:tenth].mean())
    return growth / (STEP_S * (len(at) - tenth))


def judge(
    intended: Floats, answered: Floats, start: float, end: float, threshold: float = THRESHOLD
) -> Stability:
    """Return whether the answers keep up with the schedule in a window.

    Args:
        intended: [n] when each message was due, seconds; also those before the window.
        answered: [n] when it was answered; NaN for never.
        start: Of the window, after the warm-up.
        end: Of the window: of the schedule, not of the time that its last answers are waited for.
        threshold: Of the relative slope, for 60,000 messages or more.

    Raises:
        ValueError: The window is too short, or no message is due in it.
    """
    due = int(((intended >= start) & (intended < end)).sum())
    if not due:
        raise ValueError("no message is due in the window: measure longer, or at a higher rate")
    slope = backlog_slope(intended, answered, start, end)
    relative = slope * (end - start) / due
    limit = threshold * max(1.0, math.sqrt(ENOUGH / due))
    return Stability(slope, relative, bool(relative <= limit), detectable_overload(due))
