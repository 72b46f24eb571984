"""The probes that a search has seen: what passes, what fails, and the fit through their margins."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np

from loadtest.search.probes import Observation, Probe, Purpose
from loadtest.statistics.isotonic import Isotonic, fit

# Of a rate. Nearer to each other, a pass above a failure is noise, and the fit's matter.
INVERSION = 1.1

_RESAMPLES = 400


@dataclass(frozen=True)
class Seen:
    """A probe and what came of it."""

    probe: Probe
    observation: Observation


class Points:
    """All that a search has seen, by rate."""

    def __init__(self) -> None:
        self._seen: list[Seen] = []

    def __len__(self) -> int:
        return len(self._seen)

    @property
    def seconds(self) -> float:
        """Of all probes together."""
        return sum(seen.probe.seconds for seen in self._seen)

    def add(self, probe: Probe, observation: Observation) -> None:
        """Keep one more."""
        self._seen.append(Seen(probe, observation))

    def merged(self) -> list[Observation]:
        """Return one observation for each rate, rising: of several, the latest with their mean margin.

        Each weighs as much as its seconds; the rate passes where the mean is below 0.
        """
        merged = []
        for rate in sorted({seen.probe.rate for seen in self._seen}):
            same = [seen for seen in self._seen if seen.probe.rate == rate]
            weights = [seen.probe.seconds for seen in same]
            margin = float(np.average([seen.observation.margin for seen in same], weights=weights))
            passed = same[0].observation.passed if len(same) == 1 else margin < 0
            # A failure's breach is that of a probe that failed.
            chosen = [seen.observation for seen in same if seen.observation.passed == passed][-1]
            merged.append(replace(chosen, rate=rate, margin=margin, passed=passed))
        return merged

    def at_or_above(self, rate: float) -> list[Observation]:
        """Return the rates from this one up, merged."""
        return [one for one in self.merged() if one.rate >= rate]

    def edge(self) -> tuple[float | None, float | None]:
        """Return the largest passing rate below the lowest failing one, and that one.

        Either is None where there is none. Rates that fail below all that pass are not this edge.
        """
        merged = self.merged()
        passing = [one.rate for one in merged if one.passed]
        failing = [one.rate for one in merged if not one.passed and (not passing or one.rate > passing[0])]
        high = failing[0] if failing else None
        below = [rate for rate in passing if high is None or rate < high]
        return (below[-1] if below else None), high

    def inversion(self) -> tuple[float, float] | None:
        """Return a failing rate and the lowest one that passes by more than 10 % above it, or None."""
        merged = self.merged()
        for failing in merged:
            above = [one.rate for one in merged if one.passed and one.rate > INVERSION * failing.rate]
            if not failing.passed and above:
                return failing.rate, above[0]
        return None

    def lowest_failure(
        self, above: float | None, purposes: Collection[Purpose] | None = None
    ) -> Observation | None:
        """Return the failed probe of the lowest rate above one, of some purposes or of all."""
        found = [
            seen.observation
            for seen in self._seen
            if not seen.observation.passed
            and (above is None or seen.probe.rate > above)
            and (purposes is None or seen.probe.purpose in purposes)
        ]
        return min(found, key=lambda one: one.rate, default=None)

    def root(self) -> float | None:
        """Return where the fit crosses 0, or None where it does not."""
        return self._fit().root() if self._seen else None

    def root_interval(self) -> tuple[float, float] | None:
        """Return where 95 % of fits through margins drawn anew within their errors cross 0."""
        kept = self._kept()
        random = np.random.default_rng(0)
        errors = np.nan_to_num([seen.observation.standard_error for seen in kept])
        roots = []
        for _ in range(_RESAMPLES):
            root = self._fit(errors * random.standard_normal(len(kept))).root()
            if root is not None:
                roots.append(root)
        if not roots:
            return None
        low, high = np.quantile(roots, (0.025, 0.975)).tolist()
        return low, high

    def _fit(self, noise: float | np.typing.NDArray[np.float64] = 0.0) -> Isotonic:
        kept = self._kept()
        rates = [seen.probe.rate for seen in kept]
        margins = np.array([seen.observation.margin for seen in kept]) + noise
        return fit(rates, margins, [seen.probe.seconds for seen in kept])

    def _kept(self) -> list[Seen]:
        """Return the probes for the fit: of a system that is not monotone, those around its edge alone."""
        low, high = self.edge()
        if self.inversion() is None or low is None or high is None:
            return self._seen
        merged = self.merged()
        bottom = max(
            [one.rate for one in merged if not one.passed and one.rate < low / INVERSION], default=0.0
        )
        top = min([one.rate for one in merged if one.passed and one.rate > high * INVERSION], default=np.inf)
        return [seen for seen in self._seen if bottom < seen.probe.rate < top]
