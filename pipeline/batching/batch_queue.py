"""The rules by which batches form: what waits goes together, and nobody waits who is alone.

They know no threads and no clock: `Batcher` puts threads on them, `serving.call_batcher` an event loop.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar


class Queued(Protocol):
    """What waits for a batch."""

    @property
    def size(self) -> int:
        """How much of a batch's size it takes."""

    @property
    def arrived(self) -> float:
        """Monotonic seconds at which it was queued."""


Entry = TypeVar("Entry", bound=Queued)


class BatchQueue(Generic[Entry]):
    """The entries that wait, and when they go as a batch. Its caller guards it; times are monotonic seconds.

    A worker that is free takes all that waits, up to `max_batch_size`. Senders that were answered a moment
    ago are likely to be back soon: for these, and for no others, a batch window of up to `max_wait_s` is held
    open. So a sender that is alone never waits.
    """

    def __init__(self, max_batch_size: int, max_wait_s: float, concurrent_batches: int = 1) -> None:
        """Begin empty.

        Args:
            max_batch_size: The most that the sizes of a batch's entries add up to; a larger one goes alone.
            max_wait_s: Longest batch window, from the moment that a worker is free and an entry waits.
            concurrent_batches: Workers that share what waits.
        """
        self._max_batch_size = max_batch_size
        self._max_wait_s = max_wait_s
        self._concurrent_batches = concurrent_batches
        self._entries: deque[Entry] = deque()
        self._size = 0
        self._returning = 0  # senders that were answered and are not back yet
        self._answered_at = 0.0

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries)

    def add(self, entry: Entry) -> bool:
        """Queue an entry, and return whether a worker should look: not each one closes the batch window."""
        self._entries.append(entry)
        self._size += entry.size
        self._returning = max(0, self._returning - 1)
        return len(self._entries) == 1 or self._returning == 0 or self._size >= self._max_batch_size

    def wait_s(self, now: float) -> float | None:
        """Return the seconds until a batch may be taken, 0 if now; None while nothing waits."""
        if not self._entries:
            return None
        if self._returning == 0 or self._size >= self._max_batch_size:
            return 0.0
        left_s = max(self._entries[0].arrived, self._answered_at) + self._max_wait_s - now
        if left_s <= 0:
            self._returning = 0  # they have gone elsewhere
            return 0.0
        return left_s

    def take(self, running: int = 0) -> list[Entry]:
        """Return the entries of the next batch; call it when `wait_s` is 0.

        Args:
            running: Entries in the batches that other workers run.
        """
        # Workers share the load evenly: one that took everything would leave the others idle.
        known = len(self._entries) + self._returning + running
        fair_share = -(-known // self._concurrent_batches)
        taken: list[Entry] = []
        size = 0
        while self._entries and len(taken) < fair_share:
            size += self._entries[0].size
            if taken and size > self._max_batch_size:
                break
            entry = self._entries.popleft()
            self._size -= entry.size
            taken.append(entry)
        return taken

    def answered(self, entries: int, now: float) -> None:
        """Take note that so many senders have just been answered."""
        self._returning += entries
        self._answered_at = now

    def take_until(self, arrived: float) -> list[Entry]:
        """Return the entries that arrived until then, which wait no longer."""
        taken = []
        while self._entries and self._entries[0].arrived <= arrived:
            taken.append(self._entries.popleft())
        self._size -= sum(entry.size for entry in taken)
        return taken

    def take_all(self) -> list[Entry]:
        """Return all that waits, which waits no longer."""
        entries = list(self._entries)
        self._entries.clear()
        self._size = 0
        return entries
