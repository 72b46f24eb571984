"""How long the probes of a search are."""

from __future__ import annotations

from loadtest.search.answer import Settings
from loadtest.statistics.stability import ENOUGH, detectable_overload

# Of a probe's length, for the bracket.
_SHORT = 0.25


class Lengths:
    """Lengths in seconds, and what they leave unnoticed."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def short(self, rate: float) -> float:
        """Return the seconds of a probe for the bracket."""
        return self._allowed(_SHORT * self._settings.probe_s, rate)

    def full(self, rate: float, times: float = 1.0) -> float:
        """Return the seconds of any other, so many times as long."""
        return self._allowed(times * self._enough(rate), rate)

    def widening(self, rate: float) -> float:
        """Return by how much more than with 60,000 messages an overload may go unnoticed, over the rate."""
        # Rounded: 60,000 messages are not to become 59,999, which widens.
        messages = round(rate * self._enough(rate))
        return max(0.0, detectable_overload(messages) - detectable_overload(ENOUGH))

    def _enough(self, rate: float) -> float:
        """Return the seconds that 60,000 messages take, within the settings."""
        return min(max(self._settings.probe_s, ENOUGH / rate), self._settings.probe_max_s)

    def _allowed(self, seconds: float, rate: float) -> float:
        return min(max(seconds, self._settings.least_messages / rate), self._settings.probe_max_s)
