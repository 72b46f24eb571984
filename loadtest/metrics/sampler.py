"""One thread that samples several sources at the same times."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from types import TracebackType
from typing import Protocol

from loadtest.clock import Clock
from loadtest.raw_log import Sample, Series


class Source(Protocol):
    """What can be sampled."""

    def sample(self, at: float) -> list[Sample]:
        """Return what is read now, as of `at` (epoch seconds); what cannot be read is left out."""

    def series(self) -> list[Series]:
        """Return what is sampled, with the reason where something could not be read until now."""


class Sampler:
    """Samples sources on a thread of its own while it is entered, and once more at the end.

    Attributes:
        samples: What has been read, in the order of time; to be used once the sampler has been left.
    """

    def __init__(self, sources: Sequence[Source], clock: Clock, every_s: float = 1.0) -> None:
        self.samples: list[Sample] = []
        self._sources = sources
        self._clock = clock
        self._every_s = every_s
        self._ended = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="metrics sampler", daemon=True)

    def __enter__(self) -> Sampler:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the thread.

        Raises:
            BaseException: A source failed by a mistake of its own: what it cannot read it only tells.
        """
        self._ended.set()
        self._thread.join()
        if self._failure is not None and error is None:
            raise self._failure

    def series(self) -> list[Series]:
        """Return the series of all sources; ask once the sampler has been left."""
        return [series for source in self._sources for series in source.series()]

    def _run(self) -> None:
        try:
            due = self._clock()
            while not self._ended.wait(max(0.0, due - self._clock())):
                self._sample()
                # Absolute times, so that the rate holds; what a slow source has missed is left out.
                behind = max(0.0, self._clock() - due)
                due += self._every_s * (1 + behind // self._every_s)
            self._sample()
        except BaseException as failure:
            self._failure = failure

    def _sample(self) -> None:
        for source in self._sources:
            self.samples += source.sample(self._clock())
