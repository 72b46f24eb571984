"""What `benchmarks.swap` measures: latencies while the model is swapped, and between swaps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import orjson

from benchmarks.harness.verdict import Verdict
from benchmarks.swap.models import Version, is_right

WARMUP_S = 5.0
GOAL = 2.0  # p99 during a swap / between, at most


@dataclass(frozen=True)
class Counts:
    """The load driver's counts of requests."""

    sent: int
    lost: int
    dead_lettered: int


@dataclass(frozen=True)
class Delivery:
    """One result.

    Attributes:
        due: When its request was due, epoch seconds.
        collected: When it came, epoch seconds.
        right: Whether its prediction is that of the model which it names.
    """

    due: float
    collected: float
    model_id: str
    right: bool


@dataclass(frozen=True)
class Swap:
    """From writing the pointer until all results are of the model that it names: epoch seconds."""

    begun: float
    ended: float


@dataclass(frozen=True)
class Measured:
    """What a run has shown.

    Attributes:
        mode: Where the model is: local, in the job; endpoint, in the container.
        rate: In msg/s.
        wrong_model_id: Results whose prediction is not that of the model which they name.
        swap_s: How long each swap took, seconds.
        between_ms: Latencies between swaps, from when a request was due to its result.
        during_ms: Latencies of requests that were in flight during a swap.
    """

    mode: str
    rate: float
    sent: int
    lost: int
    dead_lettered: int
    wrong_model_id: int
    swaps: int
    swap_s: list[float]
    messages_between: int
    messages_during: int
    between_ms: dict[str, float]
    during_ms: dict[str, float]

    @property
    def ratio(self) -> float:
        """The p99 during a swap over that between swaps."""
        return self.during_ms["p99"] / self.between_ms["p99"]

    @property
    def verdicts(self) -> list[Verdict]:
        """How the job stands to the goals."""
        return [
            Verdict("requests lost or refused", self.lost + self.dead_lettered, 0, above=False),
            Verdict("results with the wrong model_id", self.wrong_model_id, 0, above=False),
            Verdict("p99 during a swap / between", self.ratio, GOAL, above=False),
        ]


def read(file: Path, versions: tuple[Version, ...]) -> list[Delivery]:
    """Return the results in the driver's file, in the order in which they came."""
    deliveries = []
    for line in file.read_bytes().splitlines():
        row = orjson.loads(line)
        result = row["result"]
        due = row["collected"] - row["latency_ms"] / 1000
        right = is_right(result, row["sequence"], versions)
        deliveries.append(Delivery(due, row["collected"], result["model_id"], right))
    return deliveries


def find_swaps(deliveries: Sequence[Delivery], written: Sequence[float]) -> list[Swap]:
    """Return each write of the pointer that was followed by a result of another model than before."""
    swaps = []
    for begun, until in zip(written, [*written[1:], math.inf], strict=True):
        before = [one.model_id for one in deliveries if one.collected <= begun][-1]
        later = [one for one in deliveries if begun < one.collected <= until]
        new = [one.collected for one in later if one.model_id != before]
        # Processes swap one after the other.
        old = [one.collected for one in later if one.model_id == before]
        if new:
            swaps.append(Swap(begun, max([new[0], *old])))
    return swaps


def measure(
    mode: str, rate: float, counts: Counts, deliveries: Sequence[Delivery], swaps: Sequence[Swap]
) -> Measured:
    """Split the latencies: requests due or answered within a swap, and all others after the warm-up."""
    first_due = min(one.due for one in deliveries)
    during, between = [], []
    for one in deliveries:
        latency_ms = 1000 * (one.collected - one.due)
        if any(one.due <= swap.ended and one.collected >= swap.begun for swap in swaps):
            during.append(latency_ms)
        elif one.due >= first_due + WARMUP_S:
            between.append(latency_ms)
    return Measured(
        mode=mode,
        rate=rate,
        sent=counts.sent,
        lost=counts.lost,
        dead_lettered=counts.dead_lettered,
        wrong_model_id=sum(not one.right for one in deliveries),
        swaps=len(swaps),
        swap_s=[round(swap.ended - swap.begun, 3) for swap in swaps],
        messages_between=len(between),
        messages_during=len(during),
        between_ms=_percentiles(between),
        during_ms=_percentiles(during),
    )


def _percentiles(values: Sequence[float]) -> dict[str, float]:
    p50, p95, p99 = (float(value) for value in np.percentile(values, (50, 95, 99)))
    return {"p50": p50, "p95": p95, "p99": p99, "max": max(values)}
