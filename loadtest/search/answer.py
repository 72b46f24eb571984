"""How to search, and what a search comes to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from loadtest.search.points import Points
from loadtest.search.probes import Breach, Observation
from loadtest.statistics.stability import detectable_overload


@dataclass(frozen=True)
class Settings:
    """How to search.

    Attributes:
        start: First rate, messages a second.
        probe_s: Seconds of a probe that is not short, at least.
        probe_max_s: Seconds of a probe at most. In between, it is as long as 60,000 messages take.
        budget_s: Seconds of all probes together.
        seed: Of the first probe; each later one's is 1 higher.
        least_messages: Of any probe, as far as `probe_max_s` allows: what the objectives' percentiles need.
    """

    start: float
    probe_s: float = 60.0
    probe_max_s: float = 600.0
    budget_s: float = 7200.0
    seed: int = 1
    least_messages: int = 0


@dataclass(frozen=True)
class Boundary:
    """Where a tier's objectives stop being met.

    Attributes:
        claim: The rate that was confirmed, messages a second; None where none was.
        feasible_max: The claim, or without one the largest passing rate below the lowest failing one.
        infeasible_min: The lowest failing rate above it.
        first_breach: What failed there.
        kind: "smooth" where the margins pass through 0, "cliff" where they jump, None before the root is
            probed.
        root: Where the fit crosses 0.
        ci: Where 95 % of fits through margins drawn anew within their errors cross 0 (of a cliff: the largest
            passing and the lowest failing rate), widened to the claim and the failing rate above it. It is no
            95 % interval of the limit: `python -m benchmarks.search` counts how often it holds it.
        detectable_overload: Smallest overload that the confirmation could tell, over the rate.
        converged: Whether all steps of the recipe were done.
        convergence_reason: Why the search ended.
        non_monotone_warning: What passes above what fails; empty where nothing does.
        probes: How many were made.
        seconds: Of all of them.
    """

    claim: float | None
    feasible_max: float | None
    infeasible_min: float | None
    first_breach: Breach | None
    kind: Literal["smooth", "cliff"] | None
    root: float | None
    ci: tuple[float, float] | None
    detectable_overload: float | None
    converged: bool
    convergence_reason: str
    non_monotone_warning: str
    probes: int
    seconds: float

    @classmethod
    def of(
        cls,
        points: Points,
        *,
        claim: Observation | None,
        kind: Literal["smooth", "cliff"] | None,
        converged: bool,
        reason: str,
        not_monotone: bool,
    ) -> Boundary:
        """Return what probes tell, and what a search has made of them so far."""
        low, high = points.edge()
        claimed = claim.rate if claim else None
        feasible = claimed if claimed is not None else low
        failing = points.lowest_failure(above=feasible)
        shown = [rate for rate in (claimed, failing and failing.rate) if rate]
        bracket = (low, high) if low is not None and high is not None else None
        if kind == "smooth":
            bracket = points.root_interval()
        return cls(
            claim=claimed,
            feasible_max=feasible,
            infeasible_min=failing.rate if failing else None,
            first_breach=failing.first_breach if failing else None,
            kind=kind,
            root=points.root(),
            ci=(min(bracket[0], *shown), max(bracket[1], *shown)) if bracket and len(shown) == 2 else bracket,
            detectable_overload=detectable_overload(claim.n) if claim else None,
            converged=converged,
            convergence_reason=reason,
            non_monotone_warning=points.inversion_text() if not_monotone else "",
            probes=len(points),
            seconds=points.seconds,
        )
