"""The search for the highest rate that meets a tier of objectives, one probe at a time."""

from __future__ import annotations

from loadtest.search.answer import Boundary, Settings
from loadtest.search.points import Points
from loadtest.search.probes import Observation, Probe
from loadtest.search.recipe import Recipe


class BoundarySearch:
    """The search of one tier: a state machine that does no probe itself.

    `next` returns the probe to make, `observe` takes what came of it, `boundary` says what is known so far.
    The same observations lead to the same probes.
    """

    def __init__(self, settings: Settings) -> None:
        self._points = Points()
        self._recipe = Recipe(settings, self._points)
        self._steps = self._recipe.steps()
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
            claim=self._recipe.claim,
            kind=self._recipe.kind,
            converged=self._recipe.converged,
            reason=self._recipe.reason,
            not_monotone=self._recipe.not_monotone,
        )
