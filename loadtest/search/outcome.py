"""What searches of the same job with other flags came to, side by side."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from loadtest.search.answer import Boundary
from loadtest.search.probes import Breach


@dataclass(frozen=True)
class Outcome:
    """What the search of one combination of flags came to.

    Attributes:
        flags: Of the job, with their values; empty for the job as it was.
        folder: Name of that of its search.
        ended: Why the search ended early, or did not begin; empty where it came to its end.
        boundary: That was found, as far as it was.
        p99_ms: Corrected latency at the claimed rate, milliseconds; None where too few messages tell it.
        p99_interval_ms: 95 % interval of it; None without one.
        cpu_us: Processor time of the job for each answer at that rate, microseconds; None where not known.
        batch_size: Mean requests in a call of the model at that rate; None where no result tells.
    """

    flags: Mapping[str, str]
    folder: str
    ended: str
    boundary: Boundary
    p99_ms: float | None = None
    p99_interval_ms: tuple[float, float] | None = None
    cpu_us: float | None = None
    batch_size: float | None = None

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> Outcome:
        """Return what `asdict` and JSON made of one.

        Raises:
            TypeError, KeyError: It is none.
        """
        boundary, interval = dict(entry["boundary"]), entry["p99_interval_ms"]
        breach, ci = boundary.pop("first_breach"), boundary.pop("ci")
        found = Boundary(
            **boundary, first_breach=Breach(**breach) if breach else None, ci=tuple(ci) if ci else None
        )
        others = {**entry, "boundary": found, "p99_interval_ms": tuple(interval) if interval else None}
        return cls(**others)

    @property
    def name(self) -> str:
        """The flags with their values, for people."""
        return ", ".join(f"{name}={value}" for name, value in self.flags.items()) or "as it was"

    @property
    def complete(self) -> bool:
        """Whether the search came to its end with an answer."""
        return not self.ended and self.boundary.converged and self.boundary.claim is not None


def pareto(outcomes: Sequence[Outcome]) -> list[bool]:
    """Return for each outcome whether it is in the Pareto set.

    It is there if it sustains a rate, and none of the others is at least as good in rate (more), p99 (less)
    and processor time for each answer (less), and better in one of them. A figure that is not known is the
    worst there is.
    """
    costs = [_costs(outcome) for outcome in outcomes]
    return [
        own is not None
        and not any(
            other is not None
            and other != own
            and all(theirs <= mine for theirs, mine in zip(other, own, strict=True))
            for other in costs
        )
        for own in costs
    ]


def _costs(outcome: Outcome) -> tuple[float, float, float] | None:
    """Return what is to be small; None where no rate is sustained."""
    if outcome.boundary.claim is None:
        return None
    p99, cpu = (math.inf if value is None else value for value in (outcome.p99_ms, outcome.cpu_us))
    return -outcome.boundary.claim, p99, cpu
