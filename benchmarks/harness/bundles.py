"""What comes of a bundle in an SDK process: its outputs and its metrics, or its error."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from apache_beam.metrics import monitoring_infos

from benchmarks.harness import fused_stage
from pipeline.metrics import NAMESPACE


class BundleFailedError(Exception):
    """A bundle failed in its process; says how, with the traceback from there. It can be tried again."""


class ProcessLostError(BundleFailedError):
    """The process ended, or closed its connection, before the bundle was done."""


@dataclass(frozen=True)
class Distribution:
    """A distribution of whole numbers."""

    count: int
    sum: int
    min: int
    max: int

    def __add__(self, other: Distribution) -> Distribution:
        return Distribution(
            self.count + other.count,
            self.sum + other.sum,
            min(self.min, other.min),
            max(self.max, other.max),
        )


@dataclass(frozen=True)
class UserMetrics:
    """The metrics that DoFns have counted under one namespace, by name, of all steps."""

    counters: Mapping[str, int] = field(default_factory=dict)
    distributions: Mapping[str, Distribution] = field(default_factory=dict)

    @classmethod
    def of(cls, infos: Iterable[Any], namespace: str = NAMESPACE) -> UserMetrics:
        """Return what a bundle's monitoring infos tell."""
        total = cls()
        for info in infos:
            if info.labels.get(monitoring_infos.NAMESPACE_LABEL) != namespace:
                continue
            name = info.labels[monitoring_infos.NAME_LABEL]
            if info.urn == monitoring_infos.USER_COUNTER_URN:
                total += cls(counters={name: monitoring_infos.extract_counter_value(info)})
            elif info.urn == monitoring_infos.USER_DISTRIBUTION_URN:
                values = Distribution(*monitoring_infos.extract_distribution(info))
                if values.count:
                    total += cls(distributions={name: values})
        return total

    def __add__(self, other: UserMetrics) -> UserMetrics:
        counters = dict(self.counters)
        for name, count in other.counters.items():
            counters[name] = counters.get(name, 0) + count
        distributions = dict(self.distributions)
        for name, values in other.distributions.items():
            distributions[name] = distributions[name] + values if name in distributions else values
        return UserMetrics(counters, distributions)


@dataclass(frozen=True)
class Bundle:
    """A bundle that was processed.

    Attributes:
        pieces: What the data channel has carried, by topic.
        infos: Monitoring infos, as the process reports them.
    """

    pieces: Mapping[str, Sequence[bytes]]
    infos: Sequence[Any]

    def outputs(self) -> dict[str, list[bytes]]:
        """Return serialized PubsubMessages by topic, in the order in which they were written to it."""
        return {topic: list(fused_stage.decode(pieces)) for topic, pieces in self.pieces.items()}

    def metrics(self, namespace: str = NAMESPACE) -> UserMetrics:
        """Return what the bundle has counted under a namespace."""
        return UserMetrics.of(self.infos, namespace)
