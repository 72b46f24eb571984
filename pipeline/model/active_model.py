"""The active model: the one that batches run through now, and its replacement in one assignment."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.model.model import Model

_CANDIDATE_S = 60.0


class ActiveModel:
    """The model of the moment. Whoever runs a batch reads `model` once, at its start.

    Attributes:
        model: replaced in one assignment.
        path: the file it came from, as `ModelPointer.path` has it; None where no pointer leads to it.
    """

    def __init__(self, model: Model, path: str | None = None) -> None:
        self.model = model
        self.path = path
        self._lock = threading.Lock()
        self._swaps = 0
        self._refusals = 0
        self._no_candidate = threading.Event()
        self._no_candidate.set()

    @contextmanager
    def candidate(self) -> Iterator[None]:
        """While a candidate is loaded beside the model."""
        self._no_candidate.clear()
        try:
            yield
        finally:
            self._no_candidate.set()

    def waited_for_candidate(self) -> bool:
        """Waits until no candidate is being loaded, for a minute at most; whether one was, and is no more."""
        if self._no_candidate.is_set():
            return False
        return self._no_candidate.wait(_CANDIDATE_S)

    def swap(self, model: Model, path: str) -> None:
        self.model = model
        self.path = path
        with self._lock:
            self._swaps += 1

    def count_refusal(self) -> None:
        with self._lock:
            self._refusals += 1

    def take_counts(self) -> tuple[int, int]:
        """Swaps and refusals since the last call: Beam's metrics count on bundle threads only."""
        with self._lock:
            counts = self._swaps, self._refusals
            self._swaps = self._refusals = 0
        return counts
