"""Leases: who holds which message, and until when."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

TICK_S = 0.1
"""A lease ends at the first multiple of this after its deadline, never before it."""


# Not frozen: that would make each one cost three times as much.
@dataclass(eq=False, slots=True)
class Message:
    """One published message, shared by all subscriptions of its topic. Nothing changes it.

    Attributes:
        message_id: The one that the broker gave it: a number, larger for each message.
        payload: The serialized PubsubMessage, with its id and publish time.
        published_at: Clock seconds.
        ordering_key: Empty for a message without one.
    """

    message_id: str
    payload: bytes
    published_at: float
    ordering_key: str = ""


@dataclass(eq=False, slots=True)
class Consumer:
    """One stream or one waiting pull: how much it may hold, and how to wake it when there may be work.

    Attributes:
        wake: Called when there may be work.
        ack_deadline_s: Seconds that its leases last.
        max_messages: Most that it may hold; 0 or less for no limit.
        max_bytes: Most that it may hold; 0 or less for no limit.
        outstanding_messages: What it holds.
        outstanding_bytes: What it holds.
    """

    wake: Callable[[], None]
    ack_deadline_s: float
    max_messages: int = 0
    max_bytes: int = 0
    outstanding_messages: int = 0
    outstanding_bytes: int = 0

    def has_room_for(self, size: int) -> bool:
        """Return whether a message of `size` bytes may be sent; with nothing outstanding, any may."""
        if self.outstanding_messages == 0:
            return True
        if 0 < self.max_messages <= self.outstanding_messages:
            return False
        return self.max_bytes <= 0 or self.outstanding_bytes + size <= self.max_bytes


@dataclass(eq=False, slots=True)
class Lease:
    """A delivered, unacknowledged message.

    Attributes:
        ack_id: What it is acknowledged by.
        message: The message.
        consumer: Who has it.
        tick: The bucket of its deadline.
        attempt: Which delivery of its message this is, from 1; 0 where nobody counts.
    """

    ack_id: str
    message: Message
    consumer: Consumer
    tick: int = 0
    attempt: int = 0


class LeaseTable:
    """All leases of one subscription. Every operation takes constant time a lease.

    Deadlines are kept in buckets one tick wide, because nearly every lease is acknowledged long before it
    ends: a heap of leases would grow with publish rate times ack deadline, the buckets hold live leases only.
    """

    def __init__(self) -> None:
        self._by_ack_id: dict[str, Lease] = {}
        self._buckets: dict[int, dict[str, Lease]] = {}
        self._ticks: list[int] = []  # a heap of the buckets' keys

    def __len__(self) -> int:
        return len(self._by_ack_id)

    def __iter__(self) -> Iterator[Lease]:
        return iter(self._by_ack_id.values())

    def grant(self, lease: Lease, deadline: float) -> None:
        """Start a lease that lasts until `deadline` (clock seconds)."""
        self._by_ack_id[lease.ack_id] = lease
        lease.consumer.outstanding_messages += 1
        lease.consumer.outstanding_bytes += len(lease.message.payload)
        self._schedule(lease, deadline)

    def extend(self, ack_id: str, deadline: float) -> bool:
        """Set a new deadline, earlier or later. Return False if there is no such lease."""
        lease = self._by_ack_id.get(ack_id)
        if lease is None:
            return False
        del self._buckets[lease.tick][ack_id]
        self._schedule(lease, deadline)
        return True

    def end(self, ack_id: str) -> Lease | None:
        """Take a lease out of the table and return it; None if there is no such lease."""
        lease = self._by_ack_id.pop(ack_id, None)
        if lease is not None:
            del self._buckets[lease.tick][ack_id]
            self._settle(lease)
        return lease

    def end_expired(self, now: float) -> list[Lease]:
        """Take out every lease whose deadline has passed, the earliest deadline first."""
        expired: list[Lease] = []
        while self._ticks and self._ticks[0] * TICK_S <= now:
            bucket = self._buckets.pop(heapq.heappop(self._ticks))
            for ack_id, lease in bucket.items():
                del self._by_ack_id[ack_id]
                self._settle(lease)
                expired.append(lease)
        return expired

    def _schedule(self, lease: Lease, deadline: float) -> None:
        lease.tick = math.ceil(deadline / TICK_S)
        bucket = self._buckets.get(lease.tick)
        if bucket is None:
            bucket = self._buckets[lease.tick] = {}
            heapq.heappush(self._ticks, lease.tick)
        bucket[lease.ack_id] = lease

    @staticmethod
    def _settle(lease: Lease) -> None:
        lease.consumer.outstanding_messages -= 1
        lease.consumer.outstanding_bytes -= len(lease.message.payload)
