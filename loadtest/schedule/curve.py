"""A rate over time, as the number of messages that are due until each time, and their times."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

# Straight pieces in which a rate that changes all the time is drawn. Inside a piece the send times are off by
# at most its length squared / 8 x slope / rate: 13 ns for a ramp of 100 s from 1 to 1,000 a second.
PIECES = 100_000

# Of rate x duration: keeps message k where k / rate rounds to just under the duration.
_ROUNDING = 1e-12


@dataclass(frozen=True)
class Curve:
    """Messages due until each time, straight between the points; after the last one it begins again.

    Attributes:
        times: [m] seconds, ascending from 0.
        counts: [m] messages due until then, ascending from 0.
    """

    times: Floats
    counts: Floats

    def due(self, seconds: float) -> float:
        """Return how many messages are due until a time: the integral of the rate."""
        return float(self.due_at(np.array([seconds]))[0])

    def due_at(self, seconds: Floats) -> Floats:
        """Return how many messages are due until each of [n] times."""
        whole, rest = np.divmod(seconds, self.times[-1])
        return whole * self.counts[-1] + np.interp(rest, self.times, self.counts)

    def offsets(self, seconds: float) -> Floats:
        """Return when each message is due, [n] seconds, ascending, all in [0, seconds).

        Message k is due when the integral of the rate reaches k.
        """
        numbers = np.arange(np.ceil(self.due(seconds) * (1 - _ROUNDING)), dtype=np.float64)
        whole, rest = np.divmod(numbers, self.counts[-1])
        return whole * self.times[-1] + np.interp(rest, self.counts, self.times)


def level(rate: float) -> Curve:
    """Return the curve of one rate that is held."""
    return Curve(np.array([0.0, 1 / rate]), np.array([0.0, 1.0]))


def levels(lengths: ArrayLike, rates: ArrayLike) -> Curve:
    """Return the curve of rates that are held one after the other.

    Args:
        lengths: [m] seconds, above 0.
        rates: [m] messages a second, above 0.
    """
    seconds = np.asarray(lengths, dtype=np.float64)
    return Curve(_from_zero(seconds), _from_zero(seconds * np.asarray(rates, dtype=np.float64)))


def ramp(rate: float, to_rate: float, length: float) -> Curve:
    """Return the curve of a rate that goes straight from `rate` to `to_rate` in `length` seconds."""
    times = np.linspace(0.0, length, PIECES + 1)
    return Curve(times, rate * times + (to_rate - rate) / (2 * length) * times**2)


def sine(rate: float, to_rate: float, period: float) -> Curve:
    """Return the curve of a rate that swings from `rate` to `to_rate` and back in `period` seconds.

    The rate is m - a cos(2 pi t / P), with m the mean of the two and a half their difference; its integral is
    m t - a P / (2 pi) sin(2 pi t / P).
    """
    times = np.linspace(0.0, period, PIECES + 1)
    mean, half = (rate + to_rate) / 2, (to_rate - rate) / 2
    angle = 2 * np.pi / period
    counts = mean * times - half / angle * np.sin(angle * times)
    # Where the rate is next to nothing, rounding could have it fall.
    return Curve(times, np.maximum.accumulate(counts))


def _from_zero(steps: Floats) -> Floats:
    return np.concatenate([[0.0], np.cumsum(steps)])
