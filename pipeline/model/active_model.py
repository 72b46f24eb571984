"""The active model: the one that batches run through now, and its replacement in one assignment."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pipeline.model.model import Model

_CANDIDATE_S = 60.0
_LOOK_S = 0.1


class ActiveModel:
    """The active model of a process. Whoever runs a batch reads `model` once, at the start of the batch.

    Attributes:
        model: The model, replaced in one assignment.
        path: The file it came from, as `ModelPointer.path` returns it; None without a pointer.
    """

    def __init__(self, model: Model, path: str | None = None) -> None:
        self.model = model
        self.path = path
        self._lock = threading.Lock()
        self._swaps = 0
        self._refusals = 0
        self._no_candidate = threading.Event()
        self._no_candidate.set()
        self._hangs = False  # whether somebody has waited for the candidate in vain

    @contextmanager
    def candidate(self) -> Iterator[None]:
        """Mark the time during which a candidate is loaded beside the model."""
        self._hangs = False
        self._no_candidate.clear()
        try:
            yield
        finally:
            self._no_candidate.set()

    def waited_for_candidate(self, keep_waiting: Callable[[], None]) -> bool:
        """Wait for up to a minute until no candidate is being loaded; not again for one that took longer.

        Args:
            keep_waiting: Called ten times a second; what it raises ends the wait.

        Returns:
            Whether a candidate was being loaded, and no longer is.
        """
        if self._no_candidate.is_set() or self._hangs:
            return False
        deadline = time.monotonic() + _CANDIDATE_S
        while not self._no_candidate.wait(min(_LOOK_S, _CANDIDATE_S)):
            keep_waiting()
            if time.monotonic() >= deadline:
                self._hangs = True
                return False
        return True

    def swap(self, model: Model, path: str) -> None:
        """Make `model`, from the file `path`, the active one."""
        self.model = model
        self.path = path
        with self._lock:
            self._swaps += 1

    def count_refusal(self) -> None:
        """Count a candidate that was refused."""
        with self._lock:
            self._refusals += 1

    def take_counts(self) -> tuple[int, int]:
        """Return the swaps and refusals since the last call: Beam's metrics count on bundle threads only."""
        with self._lock:
            counts = self._swaps, self._refusals
            self._swaps = self._refusals = 0
        return counts
