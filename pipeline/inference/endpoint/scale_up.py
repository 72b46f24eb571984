"""Waiting for an endpoint that has no replica yet: one call asks again and again, the others wait for it."""

from __future__ import annotations

import asyncio
import logging
import random

_LOGGER = logging.getLogger(__name__)

# What Vertex AI answers, with status 429, while an endpoint scales up from zero:
# https://cloud.google.com/vertex-ai/docs/predictions/autoscaling#scale-to-zero
NOT_READY = "not yet ready for inference"

_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 5.0


class ScaleUp:
    """Whether the endpoint is scaling up, and the wait for its end. One event loop uses it."""

    def __init__(self, name: str, limit_s: float, random_: random.Random) -> None:
        """`limit_s` is only for the log; each call counts its own wait."""
        self._name = name
        self._limit_s = limit_s
        self._random = random_
        self._asker: object | None = None
        self._ended = asyncio.Event()
        self._ended.set()
        self._begun = 0.0
        self._pause = _FIRST_PAUSE_S
        self._told = False

    def blocks(self, call: object) -> bool:
        """Whether `call` is to wait: another one is asking."""
        return self._asker not in (None, call)

    async def pause(self, call: object, at_most: float) -> None:
        """Waits: the asking call until it is to ask again, others until the endpoint has answered."""
        if self._asker is None:
            self._asker = call
            self._pause = _FIRST_PAUSE_S
            self._ended.clear()
            if not self._told:
                self._told = True
                self._begun = asyncio.get_running_loop().time()
                _LOGGER.warning(
                    "%s is not yet ready for inference: waiting up to %g s for its scale-up",
                    self._name,
                    self._limit_s,
                )
        if self._asker is call:
            await asyncio.sleep(min(at_most, self._pause * self._random.uniform(0.5, 1.0)))
            self._pause = min(2 * self._pause, _LONGEST_PAUSE_S)
            return
        try:
            async with asyncio.timeout(at_most):
                await self._ended.wait()
        except TimeoutError:
            pass

    def leave(self, call: object, *, ready: bool) -> None:
        """Tells that `call` asks no more; if it did, the others go on, and one of them may take over."""
        if self._asker is not call:
            return
        self._asker = None
        self._ended.set()
        if ready:
            self._told = False
            waited = asyncio.get_running_loop().time() - self._begun
            _LOGGER.info("%s is ready after %.0f s", self._name, waited)
