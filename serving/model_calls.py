"""Calls of the model: one after the other, off the event loop, each within a time limit."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from serving.errors import DeviceLost, Refusal

_T = TypeVar("_T")


class CallerGone(Exception):
    """The client gave up while its call waited."""


class ModelCalls:
    """The thread that calls the model, and the calls that wait for it.

    A call that hangs cannot be ended, and a lost device never comes back in the same process. After either,
    no further call is made, all that wait are refused with 503, and the process is to end.
    """

    def __init__(self, timeout_s: float, count: Callable[[], None], on_lost: Callable[[str], None]) -> None:
        """Start without a call.

        Args:
            timeout_s: Most seconds of one call, and most seconds that one waits for its turn.
            count: Called at the beginning and at the end of each call.
            on_lost: Called once, with the reason, when the process is to end.
        """
        self._timeout_s = timeout_s
        self._count = count
        self._on_lost = on_lost
        # One: calls of a model do not run faster side by side, and torch uses several cores by itself.
        self._thread = ThreadPoolExecutor(1, "model")
        self._turn = asyncio.Lock()
        self._lost: str | None = None

    async def load(self, function: Callable[[], _T]) -> _T:
        """Run `function` on the thread that will call the model, without a time limit."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, function)

    async def run(self, call: Callable[[], _T], gone: Callable[[], Awaitable[bool]]) -> _T:
        """Run `call`, in the order in which calls came.

        Args:
            call: Calls the model.
            gone: Returns whether the client has given up; asked only where the call had to wait.

        Raises:
            CallerGone: It has.
            Refusal: 503, the call or its turn took too long, or the process is to end; or what `call` raised.
        """
        waits = self._turn.locked()
        await (self._wait() if waits else self._turn.acquire())
        try:
            if waits and self._lost is None and await gone():
                # Its predictions would only keep the others waiting.
                raise CallerGone
            if self._lost is not None:
                raise Refusal(503, f"this process is being replaced: {self._lost}")
            return await self._run_now(call)
        finally:
            self._turn.release()

    def close(self) -> None:
        """End the thread once its call has ended."""
        self._thread.shutdown(wait=False)

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._turn.acquire()
        except TimeoutError:
            raise Refusal(503, f"the calls before this one took more than {self._timeout_s:g} s") from None

    async def _run_now(self, call: Callable[[], _T]) -> _T:
        self._count()
        limit = asyncio.timeout(self._timeout_s)
        try:
            async with limit:
                answer = await asyncio.get_running_loop().run_in_executor(self._thread, call)
        except TimeoutError:
            if not limit.expired():
                raise
            reason = f"a call of the model took more than {self._timeout_s:g} s (--predict_timeout_s)"
            self._lose(reason)
            # It stays counted as running, for it is.
            raise Refusal(503, reason) from None
        except DeviceLost as error:
            self._count()
            self._lose(str(error))
            raise
        except BaseException:
            self._count()
            raise
        self._count()
        return answer

    def _lose(self, reason: str) -> None:
        self._lost = reason
        self._on_lost(reason)
