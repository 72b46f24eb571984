"""The search for the highest rate that meets a tier of objectives, under noise.

The recipe, measured against plain bisection and votes on M/M/1 queues (`python -m benchmarks.search`):

1. bracket: by factors of 4 from the start, with short probes; from an overload to half of what the system
   carried, as its backlog tells. A rate that fails without a growing backlog is followed by one above it
   ("look above"): its latency may be due to a low rate, as with batch windows.
2. bisect: geometric middles, until the bracket is 10 % wide; where one is over twice what was
   carried, 1.1 of that.
3. root: an isotonic fit through the margins of all probes; its root is probed three times, each time anew.
   Where it passes clearly, the rate that fails above it is probed again in its stead ("recheck"), once.
4. confirm: 0.99 of the root, twice as long, with another seed; less after a failure: 2, 2, 4, 8 %.
5. breach: 1.05 of what was confirmed must fail. A failed confirmation, 2 % above, has shown it already. If it
   passes, and passes twice as long, it is the new claim, and the boundary is a bracket: the fit was wrong.
   Then 10 % above, 20 % and so on; a failure over 10 % above begins the steps anew.

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

from loadtest.search.answer import Boundary, Settings
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


class BoundarySearch:
    """The search of one tier: a state machine that does no probe itself.

    `next` returns the probe to make, `observe` takes what came of it, `boundary` says what is known so far.
    The same observations lead to the same probes.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._points = Points()
        self._lengths = Lengths(settings)
        self._rechecked: set[float] = set()
        self._not_monotone = False
        self._looked_below = False
        self._kind: Literal["smooth", "cliff"] | None = None
        self._claim: Observation | None = None
        # The lowest rate that the driver could not send in time, and the seconds of such probes.
        self._ceiling = math.inf
        self._lifts = 0
        self._in_vain_s = 0.0
        self._reason = ""
        self._converged = False
        self._steps = self._search()
        self._pending: Probe | None = None
        self._begun = False

    def next(self) -> Probe | None:
        """Return the probe to make now, the same until it is observed; None at the end."""
        if not self._begun:
            self._begun = True
            self._pending = next(self._steps, None)
        return self._pending

    def observe(self, probe: Probe, observation: Observation) -> None:
        """Take what came of the probe that `next` returned.

        Raises:
            ValueError: `next` returned another.
        """
        self._send(probe, observation)

    def unreachable(self, probe: Probe) -> None:
        """Take that the load of the probe that `next` returned could not be made: the driver is the limit.

        Raises:
            ValueError: `next` returned another.
        """
        self._send(probe, None)

    def note(self, probe: Probe, observation: Observation) -> None:
        """Take what came of a probe that another tier's search asked for."""
        self._points.add(probe, observation)

    def _send(self, probe: Probe, observation: Observation | None) -> None:
        if probe != self.next():
            raise ValueError(f"{probe} was not asked for: observe what next() returned")
        try:
            self._pending = self._steps.send(observation)
        except StopIteration:
            self._pending = None

    def boundary(self) -> Boundary:
        """Return what is known so far."""
        return Boundary.of(
            self._points,
            claim=self._claim,
            kind=self._kind,
            converged=self._converged,
            reason=self._reason,
            not_monotone=self._not_monotone,
        )

    def _search(self) -> Steps:
        try:
            rounds = 0
            while rounds < _ROUNDS:
                try:
                    yield from self._bracket()
                    yield from self._bisect()
                    if (yield from self._probe_root()):
                        yield from self._confirm()
                        yield from self._show_breach()
                    if self._converged:
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
            self._reason = str(ended)

    def _bracket(self) -> Steps:
        first = self._settings.start
        while True:
            yield from self._recheck()
            low, high = self._points.edge()
            if low is None and high is None:
                rate = first if first < self._ceiling else self._ceiling / FACTOR
            elif self._not_monotone and not self._points.merged()[0].passed and not self._looked_below:
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
        while not self._not_monotone and (pair := self._points.inversion()):
            if pair[0] in self._rechecked:
                self._not_monotone = True
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
        while len(found) < ROOTS:
            low, high = self._edge()
            clear = bool(found) and found[-1].margin < -_CLIFF * found[-1].standard_error
            if clear and self._points.times(high) == 1:
                found.append((yield from self._probe(high, "recheck")))
                if self._wide():
                    return False
                continue
            root = self._points.root() or math.sqrt(low * high)
            found.append((yield from self._probe(root, "root")))
        # The fit said 0 at each. One probe's error is uncertain itself: theirs are pooled.
        error = sum(one.standard_error for one in found) / ROOTS
        missed = sum(abs(one.margin) > _CLIFF * error for one in found)
        self._kind = "cliff" if missed > ROOTS / 2 else "smooth"
        return True

    def _confirm(self) -> Steps:
        low, high = self._edge()
        root = self._points.root() or math.sqrt(low * high)
        widening = self._lengths.widening(root)
        rate = BELOW_ROOT * root * (1 - widening)
        if widening and (interval := self._points.root_interval()):
            # Few messages leave the percentile uncertain, too.
            rate = min(rate, interval[0])
        for step in (1.0, *STEPS_DOWN):
            rate *= step
            observation = yield from self._probe(rate, "confirm", times=2)
            if observation.passed:
                self._claim = observation
                return
        raise _EndedError(
            f"none of {1 + len(STEPS_DOWN)} rates from {BELOW_ROOT:g} of the root down passed twice as "
            "long a probe: the system changes from probe to probe; make probes longer"
        )

    def _show_breach(self) -> Steps:
        made: tuple[Purpose, ...] | None = ("confirm", "breach")
        step = ABOVE_CLAIM - 1
        while True:
            assert self._claim is not None
            claim = self._claim.rate
            above = claim * (1 + step) * (1 + self._lengths.widening(claim))
            shown = self._points.lowest_failure(above=claim, purposes=made)
            if shown is None or shown.rate > above:
                shown = yield from self._probe(above, "breach")
                if shown.passed:
                    shown = yield from self._probe(above, "confirm", times=2)
            if not shown.passed:
                if shown.rate > claim * RESOLUTION * (1 + self._lengths.widening(claim)):
                    return
                self._converged = True
                self._reason = f"{claim:.6g}/s is confirmed, and {shown.rate:.6g}/s fails"
                return
            # The fit was too low. Any failure above counts from here on.
            self._claim, self._kind, made = shown, "cliff", None
            step *= 2
            yield from self._recheck()
            if self._wide():
                return

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
        if self._claim is None and low is not None:
            try:
                observation = yield from self._probe(low, "confirm", times=2)
            except _UnreachableError:
                raise _EndedError(f"{why}: give it processors of its own, or raise --drivers") from None
            if observation.passed:
                self._claim = observation
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
