"""What one worker or one replica carries at each load: the kernel's answer as arrays to look up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

# What keeps up so far is taken to keep up: a simulation of finite length leaves the last messages undone. The
# objectives of the load lab draw the line at the same share.
_KEPT_UP = 0.99


class Point(Protocol):
    """One worker at one load."""

    @property
    def offered(self) -> float:
        """Messages a second that come."""

    @property
    def done(self) -> float:
        """Messages a second that it answers."""

    @property
    def cpu(self) -> float:
        """Mean utilisation of its vCPUs, 0 to 1."""

    @property
    def latency_s(self) -> Floats:
        """[n] seconds, ascending: a sample of what messages take."""


class Curve(Protocol):
    """One worker at all loads."""

    @property
    def points(self) -> Sequence[Point]:
        """In rising order of load."""

    @property
    def capacity(self) -> float:
        """Messages a second at most."""


@dataclass(frozen=True, eq=False)
class Capacity:
    """One worker or replica at all loads.

    Attributes:
        offered: [m] messages a second, ascending from 0.
        done: [m] messages a second, never falling: batches grow with the load, so that more is done of more.
        cpu: [m] utilisation of its vCPUs at these loads, 0 to 1.
        gpu: [m] duty cycle of its GPU, 0 to 1; zeros without one.
        latency_s: [m - 1] samples, each ascending seconds: of the loads from the second on.
    """

    offered: Floats
    done: Floats
    cpu: Floats
    gpu: Floats
    latency_s: tuple[Floats, ...]

    @classmethod
    def of(cls, curve: Curve, gpu: ArrayLike | None = None) -> Capacity:
        """Return the arrays of a curve; `gpu` is the duty cycle at each of its points, 0 to 1.

        Raises:
            ValueError: The curve has no points, or `gpu` has another number of them.
        """
        points = curve.points
        return cls.of_points(
            [point.offered for point in points],
            [point.done for point in points],
            [point.cpu for point in points],
            [point.latency_s for point in points],
            gpu,
            curve.capacity,
        )

    @classmethod
    def of_points(
        cls,
        offered: ArrayLike,
        done: ArrayLike,
        cpu: ArrayLike,
        latency_s: Sequence[ArrayLike],
        gpu: ArrayLike | None = None,
        capacity: float = 0.0,
    ) -> Capacity:
        """Return it from [m] values each, in rising order of load; `capacity` is reached beyond the last one.

        Raises:
            ValueError: They are none, not as many, or not in rising order.
        """
        loads = np.asarray(offered, dtype=np.float64)
        rates = np.asarray(done, dtype=np.float64)
        shares = np.asarray(cpu, dtype=np.float64)
        duty = np.zeros(len(loads)) if gpu is None else np.asarray(gpu, dtype=np.float64)
        if not len(loads) or {len(rates), len(shares), len(duty), len(latency_s)} != {len(loads)}:
            raise ValueError("a capacity needs at least one load, and as many values of each kind as loads")
        if loads[0] <= 0 or np.any(np.diff(loads) <= 0):
            raise ValueError("the loads of a capacity must rise, from above 0")
        rates = np.maximum.accumulate(np.where(rates >= _KEPT_UP * loads, loads, rates))
        # Beyond the last load, the capacity; reached at twice that load.
        return cls(
            np.concatenate([[0.0], loads, [2 * loads[-1]]]),
            np.concatenate([[0.0], rates, [max(rates[-1], capacity)]]),
            np.concatenate([[0.0], shares, shares[-1:]]),
            np.concatenate([[0.0], duty, duty[-1:]]),
            tuple(np.asarray(sample, dtype=np.float64) for sample in (*latency_s, latency_s[-1])),
        )

    @classmethod
    def by_hand(cls, capacity: float, cpu: float, latency_s: float, gpu: float = 0.0) -> Capacity:
        """Return one that does all up to a rate, with that much CPU (and GPU), and always takes as long."""
        return cls.of_points([capacity], [capacity], [cpu], [[latency_s]], [gpu], capacity)

    @property
    def most(self) -> float:
        """Messages a second at most."""
        return float(self.done[-1])

    @property
    def kept_up(self) -> float:
        """The highest load of which all is done, messages a second; what is done of the lowest if none is."""
        kept = self.offered[1:-1][self.done[1:-1] >= self.offered[1:-1]]
        return float(kept[-1]) if len(kept) else float(self.done[1])

    def done_at(self, offered: Floats) -> Floats:
        """Return the messages a second that are done of those that come, of any shape."""
        return np.interp(offered, self.offered, self.done)

    def cpu_at(self, done: Floats) -> Floats:
        """Return the utilisation while so many messages a second are done, of any shape."""
        return np.interp(done, self.done, self.cpu)

    def gpu_at(self, done: Floats) -> Floats:
        """Return the duty cycle while so many messages a second are done, of any shape."""
        return np.interp(done, self.done, self.gpu)

    def latencies(self, offered: Floats, uniform: Floats) -> Floats:
        """Return how long messages take, [n] seconds, by the sample of the nearest load.

        Args:
            offered: [n] messages a second that came to the worker then.
            uniform: [n] numbers from 0 to 1: which of the sample.
        """
        between = (self.offered[1:-1] + self.offered[2:]) / 2
        nearest = np.searchsorted(between, offered)
        found = np.empty(len(offered))
        for index in np.unique(nearest):
            chosen = nearest == index
            sample = self.latency_s[index]
            found[chosen] = sample[(uniform[chosen] * len(sample)).astype(np.int64).clip(max=len(sample) - 1)]
        return found
