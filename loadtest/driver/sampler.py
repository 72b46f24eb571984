"""Samples of processes once a second, while a run lasts."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

from loadtest.clock import Clock
from loadtest.metrics import processes
from loadtest.raw_log import Sample, Series

INTERVAL_S = 1.0


class Sampler:
    """A thread that reads what processes have used, at once, each second, and at the end."""

    def __init__(self, pids: Callable[[], Mapping[str, int]], clock: Clock) -> None:
        """Prepare to sample.

        Args:
            pids: Returns process ids by name.
            clock: Epoch seconds.
        """
        self._pids = pids
        self._clock = clock
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sampler", daemon=True)
        self._names: dict[str, None] = {}  # in the order in which they were first seen
        self._samples: list[Sample] = []

    def start(self) -> None:
        """Start sampling."""
        self._thread.start()

    def close(self) -> None:
        """Take the last samples and end the thread."""
        self._closed.set()
        if self._thread.ident is not None:  # it was started
            self._thread.join()

    @property
    def samples(self) -> tuple[Sample, ...]:
        """What was read, in the order of their times."""
        return tuple(self._samples)

    @property
    def series(self) -> dict[str, Series]:
        """What each is, by name."""
        return {series.name: series for series in processes.series(self._names)}

    def _run(self) -> None:
        last = False
        while not last:
            last = self._closed.is_set()
            pids = self._pids()
            self._names |= dict.fromkeys(pids)
            self._samples += processes.sample(pids, self._clock())
            self._closed.wait(INTERVAL_S)
