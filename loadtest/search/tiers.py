"""Searches of several tiers that share their probes."""

from __future__ import annotations

from collections.abc import Sequence

from loadtest.search.answer import Boundary, Settings
from loadtest.search.boundary import BoundarySearch
from loadtest.search.objectives import Tier
from loadtest.search.probes import Observation, Probe


class TiersSearch:
    """One boundary for each tier, one after the other; each knows what the probes of the others showed.

    Attributes:
        tiers: In the order in which they are searched.
        history: The probes so far, each with its observations: one for each tier, or none where the driver
            could not make the load.
    """

    def __init__(self, tiers: Sequence[Tier], settings: Settings) -> None:
        self.tiers = tuple(tiers)
        self.settings = settings
        self.history: list[tuple[Probe, tuple[Observation, ...]]] = []
        self._searches = [BoundarySearch(settings) for _ in self.tiers]

    def next(self) -> Probe | None:
        """Return the probe to make now, the same until it is observed; None once all tiers have ended."""
        asking = self._asking()
        return asking.next() if asking else None

    def observe(self, probe: Probe, observations: Sequence[Observation]) -> None:
        """Take what came of the probe that `next` returned, for each tier.

        Raises:
            ValueError: `next` returned another, or there are more or fewer observations than tiers.
        """
        if len(observations) != len(self._searches):
            raise ValueError(
                f"{len(observations)} observations for {len(self._searches)} tiers: give one each"
            )
        asking = self._asking()
        if asking is None:
            raise ValueError(f"{probe} was not asked for: the search has ended")
        asking.observe(probe, observations[self._searches.index(asking)])
        for search, observation in zip(self._searches, observations, strict=True):
            if search is not asking:
                search.note(probe, observation)
        self.history.append((probe, tuple(observations)))

    def unreachable(self, probe: Probe) -> None:
        """Take that the load of the probe that `next` returned could not be made.

        Raises:
            ValueError: `next` returned another.
        """
        asking = self._asking()
        if asking is None:
            raise ValueError(f"{probe} was not asked for: the search has ended")
        asking.unreachable(probe)
        self.history.append((probe, ()))

    def boundaries(self) -> list[Boundary]:
        """Return what is known so far of each tier."""
        return [search.boundary() for search in self._searches]

    def _asking(self) -> BoundarySearch | None:
        return next((search for search in self._searches if search.next()), None)
