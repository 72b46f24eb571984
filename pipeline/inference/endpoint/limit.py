"""How many calls may be in flight: a limit that gives way to an endpoint that is full."""

from __future__ import annotations

import asyncio
from collections import deque


class ConcurrencyLimit:
    """Additive increase, multiplicative decrease, as TCP does (RFC 5681), between 1 and a cap.

    One event loop uses it. The limit begins at the cap; it is halved when a call finds the endpoint full,
    once for all the calls that were in flight together, and grows by one for each limit's worth of successes.

    Attributes:
        limit: calls that may be in flight now.
        in_flight: calls that are.
    """

    def __init__(self, cap: int) -> None:
        self._cap = cap
        self.limit = cap
        self.in_flight = 0
        self._successes = 0
        # Rises at each halving, so that calls from before it do not halve again.
        self._round = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def lowered(self) -> bool:
        return self.limit < self._cap

    @property
    def free(self) -> bool:
        return self.in_flight < self.limit and not self._waiting

    async def acquire(self) -> int:
        """Waits for a place, first come first served; returns the round to hand to `congested`."""
        if self.free:
            self.in_flight += 1
            return self._round
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                self.release()  # it had been given just before
            else:
                self._waiting.remove(place)
            raise
        return self._round

    def release(self) -> None:
        """Gives a place back."""
        self.in_flight -= 1
        self._admit()

    def succeeded(self) -> None:
        """Notes a call that was answered."""
        self._successes += 1
        if self._successes >= self.limit:
            self._successes = 0
            self.limit = min(self._cap, self.limit + 1)
            self._admit()

    def congested(self, round_: int) -> None:
        """Notes a call that found the endpoint full; `round_` is what its `acquire` returned."""
        if round_ == self._round:
            self._round += 1
            self._successes = 0
            self.limit = max(1, self.limit // 2)

    def _admit(self) -> None:
        while self._waiting and self.in_flight < self.limit:
            place = self._waiting.popleft()
            if not place.cancelled():
                self.in_flight += 1
                place.set_result(None)
