"""Waits for an endpoint that has no replica yet: one call probes it, the others wait for that call."""

from __future__ import annotations

import asyncio
import logging
import random

_LOGGER = logging.getLogger(__name__)

_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 5.0


class ScaleUp:
    """The state of the endpoint's scale-up, and the wait for its end. One event loop uses it."""

    def __init__(self, name: str, limit_s: float, random_: random.Random) -> None:
        """Begin with an endpoint that is not scaling up.

        Args:
            name: The endpoint's name in the log.
            limit_s: Longest wait, for the log: each call counts its own.
            random_: For the jitter of the pauses.
        """
        self._name = name
        self._limit_s = limit_s
        self._random = random_
        self._prober: object | None = None
        self._ended = asyncio.Event()
        self._ended.set()
        self._begun = 0.0
        self._pause = _FIRST_PAUSE_S
        self._logged = False

    def blocks(self, call: object) -> bool:
        """Return whether `call` must wait, because another call is probing."""
        return self._prober not in (None, call)

    async def pause(self, call: object, at_most: float) -> None:
        """Wait up to `at_most` seconds.

        The probing call waits for its next attempt, the others wait until the probing call has ended. If no
        call is probing, `call` becomes the probing one.
        """
        if self._prober is None:
            self._prober = call
            self._pause = _FIRST_PAUSE_S
            self._ended.clear()
            if not self._logged:
                self._logged = True
                self._begun = asyncio.get_running_loop().time()
                _LOGGER.warning(
                    "%s is not yet ready for inference: waiting up to %g s for its scale-up",
                    self._name,
                    self._limit_s,
                )
        if self._prober is call:
            await asyncio.sleep(min(at_most, self._pause * self._random.uniform(0.5, 1.0)))
            self._pause = min(2 * self._pause, _LONGEST_PAUSE_S)
            return
        try:
            async with asyncio.timeout(at_most):
                await self._ended.wait()
        except TimeoutError:
            pass

    def leave(self, call: object, *, ready: bool) -> None:
        """Record that `call` no longer probes. If it did, the others go on, and one of them may take over."""
        if self._prober is not call:
            return
        self._prober = None
        self._ended.set()
        if ready:
            self._logged = False
            waited = asyncio.get_running_loop().time() - self._begun
            _LOGGER.info("%s is ready after %.0f s", self._name, waited)
