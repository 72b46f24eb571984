"""What it means that the endpoint refuses an instance which stands alone."""

from __future__ import annotations

import asyncio
import random

from pipeline.inference.endpoint.blame import Blame
from pipeline.inference.endpoint.responses import RefusedError
from pipeline.request.errors import EndpointError

# How long an instance that is refused before any was served waits for another one to be served: longer than
# the calls take that are on their way, or in the other bundles of the process.
OTHERS_WITHIN_S = 10.0
# Before an instance is asked about again, and twice as long each time.
_FIRST_PAUSE_S = 0.05

_REASONS = {
    Blame.INSTANCE: "the endpoint refused it",
    Blame.CALL: "too large for the endpoint, also by itself",
    Blame.UNKNOWN: "the endpoint, which serves others, answered what is not known to mean the request",
}


class Refusals:
    """Decides whether a refusal is about the instance or about the endpoint. One event loop uses it."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._served = asyncio.Event()

    def served(self) -> None:
        """Record that the endpoint has served a call."""
        self._served.set()

    async def is_to_halve(self, refusal: RefusedError, times: int) -> bool:
        """Return whether a call of several instances is to be halved; if not, it is to be made again.

        Args:
            refusal: Of the call.
            times: How often it has been refused, with this one.
        """
        return await self._is_repeated(times, refusal.row.batch_attempts)

    async def is_believed(self, refusal: RefusedError, times: int) -> bool:
        """Return whether the instance is to blame; if not, it is to be asked about again.

        Args:
            refusal: Of an instance that stood alone.
            times: How often it has been refused alone, with this one.

        Raises:
            EndpointError: The endpoint answers so, and has served nothing.
        """
        row = refusal.row
        if row.needs_others and not self._served.is_set():
            try:
                async with asyncio.timeout(OTHERS_WITHIN_S):
                    await self._served.wait()
            except TimeoutError:
                raise EndpointError(
                    f"{self._url} answered {refusal}. It has served nothing so far, so no request is blamed. "
                    "Check its log, and that it takes such inputs (--input_shape, --endpoint_protocol)"
                ) from refusal
            return False  # it may have become ready just now
        return await self._is_repeated(times, row.attempts)

    async def _is_repeated(self, times: int, attempts: int) -> bool:
        """Return whether there have been so many attempts; if not, return after a pause."""
        if times < attempts:
            await asyncio.sleep(_FIRST_PAUSE_S * 2 ** (times - 1) * random.uniform(1, 2))
            return False
        return True


def reason(refusal: RefusedError) -> str:
    """Return the reason of the dead letter of an instance that was refused so."""
    return f"{_REASONS[refusal.row.blame]}: {refusal}"
