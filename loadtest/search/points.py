"""The probes that a search has seen: what passes, what fails, and the fit through their margins."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np

from loadtest.raw_log import Floats
from loadtest.search.probes import Observation, Probe, Purpose
from loadtest.statistics.isotonic import Isotonic, fit

# Of a rate. Nearer to each other, a pass above a failure is noise, and the fit's matter.
INVERSION = 1.1

# Factors that a search goes down or up from its start: 4^8 is 65,536.
REACH = 8

_RESAMPLES = 400
# Standard errors of their difference by which two probes of one rate differ by chance, at most.
_CHANCE = 3.0


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

    def times(self, rate: float) -> int:
        """Return how many probes were made at a rate."""
        return sum(seen.probe.rate == rate for seen in self._seen)

    def merged(self) -> list[Observation]:
        """Return one observation for each rate, rising: of several, the latest with their mean margin.

        Each weighs as much as its seconds; the rate passes where the mean is below 0. Disturbed ones are
        left out, as from the fit.
        """
        merged = []
        for rate, same in self._undisturbed().items():
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

    def carried(self) -> float:
        """Return the least that an overloaded system was seen to carry, messages a second; infinite if none.

        It is what was offered less what the backlog grew by.
        """
        return min((one.rate * (1 - one.growth) for one in self.merged() if not one.stable), default=math.inf)

    def inversion(self) -> tuple[float, float] | None:
        """Return a failing rate and the lowest one that passes by more than 10 % above it, or None."""
        merged = self.merged()
        for failing in merged:
            above = [one.rate for one in merged if one.passed and one.rate > INVERSION * failing.rate]
            if not failing.passed and above:
                return failing.rate, above[0]
        return None

    def inversion_text(self) -> str:
        """Return what passes above what fails, in words; empty where nothing does."""
        pair = self.inversion()
        if not pair:
            return ""
        return f"not monotone: {pair[1]:.6g}/s passes and {pair[0]:.6g}/s, which is less, fails"

    def worth_a_look(self, high: float, factor: float, ceiling: float) -> float | None:
        """Return a rate above the lowest failing one that may pass, or None.

        A backlog that grows at one rate grows at each higher one. A latency may fall: so it is looked at
        once, and, where nothing below passes, again unless it rises by more than three standard errors.

        Args:
            high: The lowest failing rate.
            factor: From one rate to the next.
            ceiling: The rate from which the driver cannot send.
        """
        seen = self.at_or_above(high)
        if len(seen) > 1 and self.edge()[0] is not None:
            return None
        if not all(point.stable for point in seen) or any(point.passed for point in seen):
            return None
        rises = any(after.margin > seen[0].margin + _CHANCE * after.standard_error for after in seen[1:])
        top = seen[-1].rate * factor
        return None if rises or top > high * factor**REACH or top >= ceiling else top

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
        return _fit(self._kept()).root() if self._seen else None

    def surely_carries(self, rate: float) -> bool:
        """Return whether 97.5 % of fits, as in `root_interval`, cross 0 above a rate."""
        interval = self.root_interval()
        return interval is not None and interval[0] >= rate

    def root_interval(self) -> tuple[float, float] | None:
        """Return where 95 % of fits through margins drawn anew within their errors cross 0."""
        kept = self._kept()
        errors = _errors(kept)
        random = np.random.default_rng(0)
        roots = []
        for _ in range(_RESAMPLES):
            root = _fit(kept, errors * random.standard_normal(len(kept))).root()
            if root is not None:
                roots.append(root)
        if not roots:
            return None
        low, high = np.quantile(roots, (0.025, 0.975)).tolist()
        return low, high

    def _kept(self) -> list[Seen]:
        """Return the probes for the fit: of a system that is not monotone, those around its edge alone."""
        low, high = self.edge()
        kept = [seen for same in self._undisturbed().values() for seen in same]
        if self.inversion() is None or low is None or high is None:
            return kept
        merged = self.merged()
        bottom = max(
            [one.rate for one in merged if not one.passed and one.rate < low / INVERSION], default=0.0
        )
        top = min([one.rate for one in merged if one.passed and one.rate > high * INVERSION], default=np.inf)
        return [seen for seen in kept if bottom < seen.probe.rate < top]

    def _undisturbed(self) -> dict[float, list[Seen]]:
        """Return the probes of each rate, rising, without those that another of the rate contradicts.

        What else runs on a machine makes a probe worse, never better. So where two probes of a rate are
        further apart than chance puts them, the lower margin is the system's.
        """
        by_rate: dict[float, list[Seen]] = {}
        for seen in sorted(self._seen, key=lambda seen: seen.probe.rate):
            by_rate.setdefault(seen.probe.rate, []).append(seen)
        for rate, same in by_rate.items():
            best = min(same, key=lambda seen: seen.observation.margin)
            by_rate[rate] = [seen for seen in same if not _worse(seen.observation, best.observation)]
        return by_rate


def _worse(one: Observation, best: Observation) -> bool:
    """Return whether a margin is above another by more than their noise; False where that is not known."""
    error = math.hypot(one.standard_error, best.standard_error)
    return error > 0 and one.margin - best.margin > _CHANCE * error


def _fit(kept: Sequence[Seen], noise: float | Floats = 0.0) -> Isotonic:
    rates = [seen.probe.rate for seen in kept]
    margins = np.array([seen.observation.margin for seen in kept]) + noise
    return fit(rates, margins, [seen.probe.seconds for seen in kept])


def _errors(kept: Sequence[Seen]) -> Floats:
    """Return [n] the standard error of each probe's margin; 0 where it is not known.

    Around the root it is the median one, for the same length: a probe's own is uncertain itself, and small
    just where the margin is low by chance (their correlation is 0.4 on M/M/1 queues at a load of 0.5). Of 200
    probes of 6,500 messages there the standard deviation was 0.086, the median 0.083, the root of the mean
    square 0.130.
    """
    own: Floats = np.nan_to_num([seen.observation.standard_error for seen in kept])
    root = _fit(kept).root()
    if root is None:
        return own
    rates, seconds = (np.array([getattr(seen.probe, name) for seen in kept]) for name in ("rate", "seconds"))
    near = (rates > root / INVERSION) & (rates < root * INVERSION) & (own > 0)
    if not near.any():
        return own
    of_a_second = float(np.median(own[near] * np.sqrt(seconds[near])))
    return np.where(near, of_a_second / np.sqrt(seconds), own)
