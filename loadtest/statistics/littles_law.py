"""Little's law, a cheap test that what came and what went were counted right."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from loadtest.raw_log import Floats

TOLERANCE = 0.05


@dataclass(frozen=True)
class LittlesLaw:
    """Mean in flight = rate x mean latency (Little, 1961).

    Attributes:
        mean_in_flight: Messages in the system, averaged over the window's time.
        rate: Answers of the window, 1/s.
        mean_latency_s: Of those answers.
        ratio: mean_in_flight / (rate x mean_latency_s); 1 where nothing came or went.
        holds: Whether that is 1 within 5 %.
    """

    mean_in_flight: float
    rate: float
    mean_latency_s: float
    ratio: float
    holds: bool


def check(entered: Floats, answered: Floats, start: float, end: float) -> LittlesLaw:
    """Return how far the law holds in a window.

    It fails where messages are never answered, or the backlog grows or shrinks through the window.

    Args:
        entered: [n] when each message came, seconds: the intended or the actual send; NaN for never.
        answered: [n] when it was answered; NaN for never.
        start: Of the window.
        end: Of the window.

    Raises:
        ValueError: The window has no length.
    """
    if not end > start:
        raise ValueError(f"a window from {start:g} to {end:g} s has no length")
    came = ~np.isnan(entered)
    until = np.where(np.isnan(answered), end, answered)[came].clip(start, end)
    in_flight = float((until - entered[came].clip(start, end)).sum()) / (end - start)
    left = came & (answered >= start) & (answered < end)
    rate = float(left.sum()) / (end - start)
    latency = float((answered - entered)[left].mean()) if left.any() else 0.0
    if not in_flight and not latency:
        return LittlesLaw(0.0, rate, latency, 1.0, holds=True)
    ratio = in_flight / (rate * latency) if rate * latency else float("inf")
    return LittlesLaw(in_flight, rate, latency, ratio, abs(ratio - 1) <= TOLERANCE)
