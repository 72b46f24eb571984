"""Limits of the services, by a dated table: which breaks first as the rate grows, and how to go beyond it."""

from __future__ import annotations

import datetime
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

OUR_QUOTAS = Path(__file__).parent / "quotas.toml"

# Of a limit, what a design should use at most: a burst, a lost zone and an unequal share of the shards need
# the rest.
HEADROOM = 0.8


@dataclass(frozen=True)
class ServiceLimit:
    """One limit.

    Attributes:
        name: As in the file.
        value: In its unit.
        unit: Such as workers, or bytes a second.
        bounds: What it bounds.
        source: Where it was read.
        date: When.
        verified: Whether it stands in the source itself.
        adjustable: Whether Google raises it on request.
        remedy: What to do about it.
    """

    name: str
    value: float
    unit: str
    bounds: str
    source: str
    date: datetime.date
    verified: bool
    adjustable: bool
    remedy: str


@dataclass(frozen=True)
class Demand:
    """What a design asks of the services for each message a second.

    Attributes:
        per_worker: Messages a second that one worker carries at the utilisation that it is to have.
        in_bytes: Of a request.
        out_bytes: Of a result.
        per_replica: Messages a second that one replica carries; None without an endpoint.
        hottest_key_share: Share of the messages that the most frequent ordering key has; 0 without keys.
        hottest_worker: Load of the most loaded worker, as a multiple of the mean.
    """

    per_worker: float
    in_bytes: float
    out_bytes: float
    per_replica: float | None = None
    hottest_key_share: float = 0.0
    hottest_worker: float = 1.0


@dataclass(frozen=True)
class Breaking:
    """A limit, and the rate at which it is reached.

    Attributes:
        limit: The limit.
        rate: Messages a second.
        shards: Equal parts of the rate that was asked for, each at most at HEADROOM of the limit; 1 where it
            holds.
    """

    limit: ServiceLimit
    rate: float
    shards: int

    def __str__(self) -> str:
        known = "" if self.limit.verified else ", not verified"
        return (
            f"{self.limit.bounds}: {self.limit.value:,.0f} {self.limit.unit} ({self.limit.date}{known}) "
            f"end at {self.rate:,.0f} messages/s"
        )


@cache
def read_quotas(path: Path = OUR_QUOTAS) -> Mapping[str, ServiceLimit]:
    """Read the table of limits, by name."""
    return {name: ServiceLimit(name, **table) for name, table in tomllib.loads(path.read_text()).items()}


def breaking(rate: float, demand: Demand, quotas: Mapping[str, ServiceLimit] | None = None) -> list[Breaking]:
    """Return all limits by the rate at which they break, the first first.

    Args:
        rate: Messages a second that are wanted.
        demand: What a message a second takes.
        quotas: By name; None for our table.
    """
    limits = read_quotas() if quotas is None else quotas
    carried = demand.per_worker / demand.hottest_worker
    rates = {
        "workers_per_job": limits["workers_per_job"].value * carried,
        "instances_per_job": limits["instances_per_job"].value * carried,
        "publish_bytes": limits["publish_bytes"].value / (demand.in_bytes + demand.out_bytes),
        "pull_bytes": limits["pull_bytes"].value / demand.in_bytes,
    }
    if demand.hottest_key_share:
        per_message = demand.in_bytes * demand.hottest_key_share
        rates["ordering_key_bytes"] = limits["ordering_key_bytes"].value / per_message
    if demand.per_replica is not None:
        rates["endpoint_replicas"] = limits["endpoint_replicas"].value * demand.per_replica
    found = [
        Breaking(limits[name], at, 1 if at >= rate else math.ceil(rate / (at * HEADROOM)))
        for name, at in rates.items()
    ]
    return sorted(found, key=lambda each: each.rate)


def advice(rate: float, demand: Demand, quotas: Mapping[str, ServiceLimit] | None = None) -> list[str]:
    """Return a line for each limit that a rate breaks, the first first: where it ends, and how to shard."""
    return [
        f"{each}; for {rate:,.0f}, {each.shards} parts: {each.limit.remedy}"
        for each in breaking(rate, demand, quotas)
        if each.rate < rate
    ]
