"""How long a bundle has waited because the endpoint would not take its calls."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Waiting:
    """The waits of one bundle: backing off, scaling up, a place under a lowered limit.

    The event loop's thread writes it, the bundle's thread reads it.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._calls = 0
        self._since = 0.0
        self._before = 0.0

    @property
    def now(self) -> bool:
        """Whether any of the bundle's calls waits."""
        return self._calls > 0

    @property
    def seconds(self) -> float:
        """Seconds during which at least one of the bundle's calls waited, until now."""
        return self._before + (self._clock() - self._since if self._calls else 0.0)

    @contextmanager
    def wait(self) -> Iterator[None]:
        """Counts the time inside."""
        if not self._calls:
            self._since = self._clock()
        self._calls += 1
        try:
            yield
        finally:
            self._calls -= 1
            if not self._calls:
                self._before += self._clock() - self._since
