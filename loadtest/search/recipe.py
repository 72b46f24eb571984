"""The steps of a search for the highest rate that meets a tier of objectives, under noise.

The recipe, measured against plain bisection and votes on M/M/1 queues (`python -m benchmarks.search`):

1. bracket: by factors of 4 from the start, with short probes; from an overload to half of what the system
   carried, as its backlog tells. A rate that fails without a growing backlog is followed by one above it
   ("look above"): its latency may be due to a low rate, as with batch windows.
2. bisect: geometric middles, until the bracket is 10 % wide; where one is over twice what was
   carried, 1.1 of that.
3. root: an isotonic fit through the margins of all probes; its root is probed three times, each time anew.
   Where it passes clearly, the rate that fails above it is probed again in its stead ("recheck"), once.
4. confirm: 0.99 of the root, twice as long, with another seed; less after a failure: 2, 2, 4, 8 %. Below
   60,000 messages: below the overload that they may miss, and all that the noise leaves open for the root.
5. breach: 1.05 of what was confirmed must fail (below 60,000 messages, above all that is left open for the
   root). A failed confirmation, 2 % above, has shown it already. If it passes, and passes twice as long, and
   97.5 % of the fits through the noise have their root above it, it is the new claim, and the boundary is a
   bracket: the fit was wrong. Otherwise it passed by chance. (Where two passes alone made a new claim, 43 of
   400 answers for M/M/1 queues with 6,500 messages a probe were over 1 % too high, mostly by this.) Then 10 %
   above, 20 % and so on; a failure over 10 % above begins the steps anew.

A rate that passes more than 10 % above one that fails is probed again with it ("recheck"). If both say the
same again, the system is not monotone, and the largest passing rate below the lowest failing one is searched
for; a rate below all others is looked at for it ("look below"). If not, the search starts again with all that
it knows.

A rate that the driver could not send in time is probed again ("recheck") before the search settles below it.
"""

from __future__ import annotations

import math
from collections.abc import Generator
from typing import Literal

from loadtest.search.answer import Settings
from loadtest.search.lengths import Lengths
from loadtest.search.points import REACH, Points
from loadtest.search.probes import Observation, Probe, Purpose

FACTOR = 4.0
RESOLUTION = 1.1
ROOTS = 3
BELOW_ROOT = 0.99
# From a confirmation that fails to the next. On a machine that had become slower meanwhile, four steps of 2 %
# left nothing confirmed: the root was 8,638/s, and 7,888/s failed.
STEPS_DOWN = (0.98, 0.98, 0.96, 0.92)
ABOVE_CLAIM = 1.05
# Brackets at most: another is needed where a failure that set one was chance.
_ROUNDS = 3
# How often a rate that the driver could not send in time is tried again before the search settles below it.
_LIFTS = 2
# Of what an overloaded system carried, for the first rate below.
_OF_CARRIED = 0.5
# Standard errors by which each probe of the root must miss it for a cliff.
_CLIFF = 3.0

Steps = Generator[Probe, Observation | None, None]


class _EndedError(Exception):
    """The search cannot go on; the message is the reason."""


class _UnreachableError(Exception):
    """The driver could not make a probe's load."""


class Recipe:
    """The steps of one search, and what they have come to so far.

    Attributes:
        claim: The confirmation that passed; None where none has.
        kind: "smooth" or "cliff", once the root is probed.
        converged: Whether all steps were done.
        reason: Why they ended; empty before.
        not_monotone: Whether a rate passes above one that fails, each twice.
    """

    def __init__(self, settings: Settings, points: Points) -> None:
        self.claim: Observation | None = None
        self.kind: Literal["smooth", "cliff"] | None = None
        self.converged = False
        self.reason = ""
        self.not_monotone = False
        self._settings = settings
        self._points = points
        self._lengths = Lengths(settings)
        self._rechecked: set[float] = set()
        self._looked_below = False
        # Probes of the root that ended when a rate above it turned out to pass.
        self._roots = 0
        # The lowest rate that the driver could not send in time, and the seconds of such probes.
        self._ceiling = math.inf
        self._lifts = 0
        self._in_vain_s = 0.0

    def steps(self) -> Steps:
        """Yield each probe, and take what came of it: None where the driver could not make its load."""
        try:
            rounds = 0
            while rounds < _ROUNDS:
                try:
                    yield from self._bracket()
                    yield from self._bisect()
                    if (yield from self._probe_root()):
                        yield from self._confirm()
                        yield from self._show_breach()
                    if self.converged:
                        return
                    rounds += 1
                except _UnreachableError:
                    if not (yield from self._lift_ceiling()):
                        yield from self._settle_below_the_ceiling()
            raise _EndedError(
                f"after {_ROUNDS} rounds a higher rate than the boundary passed again: the system changes "
                "from probe to probe; make probes longer"
            )
        except _EndedError as ended:
            self.reason = str(ended)

    def _bracket(self) -> Steps:
        first = self._settings.start
        while True:
            yield from self._recheck()
            low, high = self._points.edge()
            if low is None and high is None:
                rate = first if first < self._ceiling else self._ceiling / FACTOR
            elif self.not_monotone and not self._points.merged()[0].passed and not self._looked_below:
                self._looked_below = True
                yield from self._probe(self._points.merged()[0].rate / FACTOR, "look below", short=True)
                continue
            elif high is None and low is not None:
                if self._ceiling <= low * RESOLUTION:
                    raise _UnreachableError
                rate = low * FACTOR if low * FACTOR < self._ceiling else math.sqrt(low * self._ceiling)
            elif high is not None and (above := self._points.worth_a_look(high, FACTOR, self._ceiling)):
                yield from self._probe(above, "look above", short=True)
                continue
            elif low is None and high is not None:
                rate = min(high / FACTOR, _OF_CARRIED * self._points.carried()) or high / FACTOR
            else:
                return
            if not first / FACTOR**REACH <= rate <= first * FACTOR**REACH:
                way = "down fails" if high else "up passes"
                raise _EndedError(
                    f"every rate from {first:g}/s {way}: start elsewhere, or change the objectives"
                )
            try:
                yield from self._probe(rate, "bracket", short=True)
            except _UnreachableError:
                continue

    def _recheck(self) -> Steps:
        """Probe both rates again where one passes above one that fails; once for each failing rate."""
        while not self.not_monotone and (pair := self._points.inversion()):
            if pair[0] in self._rechecked:
                self.not_monotone = True
                return
            self._rechecked.add(pair[0])
            for rate in pair:
                yield from self._probe(rate, "recheck")

    def _bisect(self) -> Steps:
        while self._wide():
            low, high = self._edge()
            middle = math.sqrt(low * high)
            if low < self._points.carried() < _OF_CARRIED * middle:
                middle = RESOLUTION * self._points.carried()
            yield from self._probe(middle, "bisect")
            yield from self._recheck()

    def _wide(self) -> bool:
        """Return whether there is no bracket, or one that is wider than 10 %."""
        low, high = self._points.edge()
        return low is None or high is None or high / low > RESOLUTION * (1 + 1e-9)

    def _probe_root(self) -> Generator[Probe, Observation | None, bool]:
        """Probe the root; return whether the bracket still stands.

        A probe that passes clearly, just below a rate that fails, is what a cliff shows, and what a failure
        by chance shows: the failing rate is probed instead of the next root, once.
        """
        found: list[Observation] = []
        while len(found) < max(1, ROOTS - self._roots):
            low, high = self._edge()
            clear = bool(found) and found[-1].margin < -_CLIFF * found[-1].standard_error
            if clear and self._points.times(high) == 1:
                found.append((yield from self._probe(high, "recheck")))
                if self._wide():
                    self._roots += len(found)
                    return False
                continue
            root = self._points.root() or math.sqrt(low * high)
            found.append((yield from self._probe(root, "root")))
        self._roots = 0
        # The fit said 0 at each. One probe's error is uncertain itself: theirs are pooled.
        error = sum(one.standard_error for one in found) / len(found)
        missed = sum(abs(one.margin) > _CLIFF * error for one in found)
        self.kind = "cliff" if missed > len(found) / 2 else "smooth"
        return True

    def _confirm(self) -> Steps:
        low, high = self._edge()
        root = self._points.root() or math.sqrt(low * high)
        widening = self._lengths.widening(root)
        rate = BELOW_ROOT * root * (1 - widening)
        if widening and (interval := self._points.root_interval()):
            # Few messages leave the percentile uncertain, too. The interval is bounded: where short probes
            # far below the root decide it, it reached down to 0.63 of a limit, once in 400 searches.
            rate = min(rate, max(interval[0], root / RESOLUTION**2))
        for step in (1.0, *STEPS_DOWN):
            rate *= step
            observation = yield from self._probe(rate, "confirm", times=2)
            if observation.passed:
                self.claim = observation
                return
        raise _EndedError(
            f"none of {1 + len(STEPS_DOWN)} rates from {BELOW_ROOT:g} of the root down passed twice as "
            "long a probe: the system changes from probe to probe; make probes longer"
        )

    def _show_breach(self) -> Steps:
        made: tuple[Purpose, ...] | None = ("confirm", "breach")
        step = ABOVE_CLAIM - 1
        assert self.claim is not None
        passed = self.claim.rate
        while True:
            claim = self.claim.rate
            first = self._above(claim)
            above = first * (1 + step) / ABOVE_CLAIM
            shown = self._points.lowest_failure(above=passed, purposes=made)
            if shown is None or shown.rate > above:
                shown = yield from self._probe(above, "breach")
            if shown.passed and (self._points.root() or above) >= above:
                shown = yield from self._probe(above, "confirm", times=2)
                if shown.passed and (yield from self._carries(above)):
                    self.claim, self.kind = shown, "cliff"
            if not shown.passed:
                if shown.rate > first * RESOLUTION / ABOVE_CLAIM:
                    return
                self.converged = True
                self.reason = f"{claim:.6g}/s is confirmed, and {shown.rate:.6g}/s fails"
                return
            # Chance, or the fit was too low. Any failure above counts from here on.
            passed, made = above, None
            step *= 2
            yield from self._recheck()
            if self._wide():
                return

    def _carries(self, rate: float) -> Generator[Probe, Observation | None, bool]:
        """Return whether a rate is surely below the root, now that it has passed.

        A single failure below may be chance: it is probed again.
        """
        _, high = self._points.edge()
        if high is not None and high < rate and self._points.times(high) == 1:
            yield from self._probe(high, "recheck")
        return self._points.surely_carries(rate)

    def _above(self, claim: float) -> float:
        """Return the rate above a claim that must fail."""
        widening = self._lengths.widening(claim)
        above = ABOVE_CLAIM * claim * (1 + widening)
        if widening and (interval := self._points.root_interval()):
            # The claim is below all that few messages leave open, and this is above it.
            above = max(above, interval[1])
        return above

    def _lift_ceiling(self) -> Generator[Probe, Observation | None, bool]:
        """Try once more what the driver could not send, and return whether it can: the machine was busy."""
        if self._lifts == _LIFTS:
            return False
        self._lifts += 1
        rate, self._ceiling = self._ceiling, math.inf
        try:
            yield from self._probe(rate, "recheck", short=True)
        except _UnreachableError:
            return False
        return True

    def _settle_below_the_ceiling(self) -> Steps:
        """Confirm the largest rate that passes, as none above it can be tried."""
        low, _ = self._points.edge()
        why = f"the driver cannot send {self._ceiling:.6g}/s in time"
        if self.claim is None and low is not None:
            try:
                observation = yield from self._probe(low, "confirm", times=2)
            except _UnreachableError:
                raise _EndedError(f"{why}: give it processors of its own, or raise --drivers") from None
            if observation.passed:
                self.claim = observation
        raise _EndedError(f"{why}: the system may carry more")

    def _probe(
        self, rate: float, purpose: Purpose, *, times: float = 1.0, short: bool = False
    ) -> Generator[Probe, Observation | None, Observation]:
        settings = self._settings
        seconds = self._lengths.short(rate) if short else self._lengths.full(rate, times)
        if self._points.seconds + self._in_vain_s + seconds > settings.budget_s:
            raise _EndedError(
                f"the budget of {settings.budget_s:g} s does not hold the next probe ({purpose}, "
                f"{seconds:g} s): "
                "raise --budget"
            )
        probe = Probe(rate, seconds, settings.seed + len(self._points), purpose)
        observation = yield probe
        if observation is None:
            self._ceiling = min(self._ceiling, rate)
            self._in_vain_s += seconds
            raise _UnreachableError
        self._points.add(probe, observation)
        return observation

    def _edge(self) -> tuple[float, float]:
        low, high = self._points.edge()
        if low is None or high is None:
            raise _EndedError(
                "probes of one rate contradict each other, and no bracket is left: make probes longer"
            )
        return low, high
