"""What the fluid layer found: everything over time, in every draw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Limit(IntEnum):
    """Who holds the messages back."""

    NOBODY = 0
    WORKERS = 1
    ENDPOINT = 2
    QUOTA = 3


SERIES: Sequence[str] = (
    "workers", "wanted_workers", "replicas", "wanted_replicas", "backlog", "done_per_s", "cpu", "occupied",
    "replica_cpu", "replica_gpu", "throttled", "limit",
)  # fmt: skip
"""What is recorded, each over time in every draw."""


@dataclass(frozen=True, eq=False)
class Timeline:
    """A run in all its draws.

    Attributes:
        times: [s + 1] seconds: the ends of the records.
        arrived: [s + 1, draws, groups] messages that had come until then, to each group of workers.
        served: [s + 1, draws, groups] messages that had been answered by then.
        series: [s, draws] by the names of SERIES. Counts are of the end of a record, `done_per_s`,
            utilisations (0 to 1), the share of bundle threads at work and of calls held back are means of it;
            `limit` is a `Limit`.
        steps: How many steps were computed.
    """

    times: Floats
    arrived: Floats
    served: Floats
    series: dict[str, Floats]
    steps: int

    @property
    def record_s(self) -> float:
        """Seconds from record to record."""
        return float(self.times[1] - self.times[0])

    @property
    def draws(self) -> int:
        """How many there are."""
        return self.arrived.shape[1]

    def __getitem__(self, name: str) -> Floats:
        return self.series[name]

    @property
    def unserved(self) -> Floats:
        """[draws] messages that still waited at the end."""
        left = (self.arrived[-1] - self.served[-1]).sum(axis=1)
        return np.asarray(np.maximum(left, 0.0))

    def hours(self, name: str) -> Floats:
        """Return the integral of a count over time, [draws] hours: worker hours, replica hours."""
        return np.asarray(self.series[name].sum(axis=0) * self.record_s / 3_600)

    def share_limited(self, limit: Limit) -> Floats:
        """Return the share of the time in which somebody was the limit, [draws]."""
        return np.asarray((self.series["limit"] == limit).mean(axis=0))


def joined(timelines: Sequence[Timeline]) -> Timeline:
    """Return the draws of several runs of the same length as those of one, in their order."""
    first = timelines[0]
    return Timeline(
        first.times,
        np.concatenate([each.arrived for each in timelines], axis=1),
        np.concatenate([each.served for each in timelines], axis=1),
        {name: np.concatenate([each[name] for each in timelines], axis=1) for name in SERIES},
        sum(each.steps for each in timelines),
    )


def bands(values: Floats, low: float = 10, high: float = 90) -> Floats:
    """Return lower percentile, central draw and upper percentile of [..., draws], as [3, ...].

    Draw 0 has the defaults of all unknowns. Where it lies outside of the band, the band is widened to it.
    """
    central = values[..., 0]
    ends = np.percentile(values, [low, high], axis=-1)
    return np.stack([np.minimum(ends[0], central), central, np.maximum(ends[1], central)])
