"""Limits how many calls are in flight, and lowers the limit when the endpoint is full."""

from __future__ import annotations

import asyncio
from collections import deque


class ConcurrencyLimit:
    """A limit with additive increase and multiplicative decrease, like TCP's (RFC 5681), from 1 to a cap.

    One event loop uses it. The limit starts at the cap. It is halved when a call finds the endpoint full,
    once for all the calls that were in flight together, and grows by one after as many successes as the
    limit.

    Attributes:
        limit: Calls that may be in flight now.
        in_flight: Calls that are in flight.
    """

    def __init__(self, cap: int) -> None:
        self._cap = cap
        self.limit = cap
        self.in_flight = 0
        self._successes = 0
        # Rises at each halving, so that calls that started before it do not halve the limit again.
        self._round = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def lowered(self) -> bool:
        """Whether the limit is below the cap."""
        return self.limit < self._cap

    @property
    def free(self) -> bool:
        """Whether `acquire` would return at once."""
        return self.in_flight < self.limit and not self._waiting

    async def acquire(self) -> int:
        """Wait for a slot, first come first served; return the round to pass to `congested`."""
        if self.free:
            self.in_flight += 1
            return self._round
        slot: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(slot)
        try:
            await slot
        except asyncio.CancelledError:
            if slot.done() and not slot.cancelled():
                self.release()  # the slot had been assigned just before
            else:
                self._waiting.remove(slot)
            raise
        return self._round

    def release(self) -> None:
        """Give a slot back."""
        self.in_flight -= 1
        self._admit()

    def succeeded(self) -> None:
        """Record a call that was served."""
        self._successes += 1
        if self._successes >= self.limit:
            self._successes = 0
            self.limit = min(self._cap, self.limit + 1)
            self._admit()

    def congested(self, round_: int) -> None:
        """Record a call that found the endpoint full; `round_` is what its `acquire` returned."""
        if round_ == self._round:
            self._round += 1
            self._successes = 0
            self.limit = max(1, self.limit // 2)

    def _admit(self) -> None:
        while self._waiting and self.in_flight < self.limit:
            slot = self._waiting.popleft()
            if not slot.cancelled():
                self.in_flight += 1
                slot.set_result(None)
