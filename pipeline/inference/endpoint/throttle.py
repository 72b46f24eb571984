"""Measures how long a bundle has waited because the endpoint would not take its calls."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class ThrottleClock:
    """A clock of one bundle's waits: for a retry, for the scale-up, for a slot under a lowered limit.

    The event loop's thread writes it, the bundle's thread reads it.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._waiting = 0
        self._since = 0.0
        self._earlier_s = 0.0

    @property
    def running(self) -> bool:
        """Whether any of the bundle's calls is waiting now."""
        return self._waiting > 0

    @property
    def seconds(self) -> float:
        """Seconds until now during which at least one of the bundle's calls was waiting."""
        return self._earlier_s + (self._clock() - self._since if self._waiting else 0.0)

    @contextmanager
    def measure(self) -> Iterator[None]:
        """Count the time inside the `with` block as waiting."""
        if not self._waiting:
            self._since = self._clock()
        self._waiting += 1
        try:
            yield
        finally:
            self._waiting -= 1
            if not self._waiting:
                self._earlier_s += self._clock() - self._since
