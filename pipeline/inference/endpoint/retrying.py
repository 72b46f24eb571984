"""One call to the endpoint, tried again until it is served, refused, or out of time."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Generic, TypeVar

import aiohttp

from pipeline.inference.endpoint.codec import BadAnswerError, WrongCountError
from pipeline.inference.endpoint.limit import ConcurrencyLimit
from pipeline.inference.endpoint.responses import Reply, RetryError
from pipeline.inference.endpoint.scale_up import ScaleUp
from pipeline.inference.endpoint.throttle import Waiting
from pipeline.inference.endpoint.token import TokenSource
from pipeline.options.address import Address
from pipeline.request.errors import EndpointError, TransientError

_LOGGER = logging.getLogger(__name__)
_T = TypeVar("_T")

_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 5.0
_TOKEN_LOOK_S = 0.05
# A second token that is refused as well is no expired one.
_TOKENS_TRIED = 2
_LOG_EVERY_S = 30.0
# What is kept of the deadline for an attempt after the last pause; of a short deadline, a quarter.
_LAST_ATTEMPT_S = 1.0


@dataclass(frozen=True)
class RetryPolicy:
    """How long a call is tried, in seconds.

    Attributes:
        timeout_s: one attempt.
        deadline_s: all attempts, from the moment the first has a place; the scale-up is not counted.
        scale_up_wait_s: waiting for an endpoint without a replica.
    """

    timeout_s: float
    deadline_s: float
    scale_up_wait_s: float


@dataclass(frozen=True, slots=True)
class Served(Generic[_T]):
    """A call that was served; `start` (of the first attempt) and `end` are epoch seconds."""

    value: _T
    reply: Reply
    start: float
    end: float


class Calls:
    """Calls one endpoint for all bundles of a process. Its methods run on one event loop."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        address: Address,
        max_concurrency: int,
        patience: RetryPolicy,
        tokens: TokenSource | None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`clock` gives epoch seconds, for what is reported; time limits follow the event loop's clock."""
        self._session = session
        self._url = address.url
        self._patience = patience
        self._tokens = tokens
        self._clock = clock
        self._random = random.Random()
        self.limit = ConcurrencyLimit(max_concurrency)
        self._scale_up = ScaleUp(address.url, patience.scale_up_wait_s, self._random)
        self._unlogged = 0
        self._logged_at = -_LOG_EVERY_S

    async def call(
        self, body: bytes, content_type: str, read: Callable[[Reply], _T], waiting: Waiting
    ) -> Served[_T]:
        """POSTs `body` and returns what `read` makes of the answer.

        Raises:
            RefusedError: the instances were refused.
            WrongCountError: `read` found another number of predictions.
            TransientError: it failed until its time was up.
            EndpointError: the endpoint serves no such call.
        """
        tries = _Tries(self._url, self._patience, asyncio.get_running_loop().time)
        try:
            while True:
                if self._scale_up.blocks(tries):
                    await self._wait_for_scale_up(tries, waiting)
                    continue
                token = self._tokens.current if self._tokens else None
                begun = asyncio.get_running_loop().time()
                try:
                    return await self._try(body, content_type, token, read, tries, waiting)
                except RetryError as failure:
                    if failure.not_ready:
                        tries.scaled_up_for(asyncio.get_running_loop().time() - begun)
                        await self._wait_for_scale_up(tries, waiting)
                        continue
                    self._scale_up.leave(tries, ready=False)
                    tries.failed += 1
                    self._log(failure)
                    with waiting.wait():
                        if failure.token_refused:
                            await self._next_token(token, tries, failure)
                        else:
                            await asyncio.sleep(tries.pause(failure, self._random))
        finally:
            self._scale_up.leave(tries, ready=False)

    async def _try(
        self,
        body: bytes,
        content_type: str,
        token: str | None,
        read: Callable[[Reply], _T],
        tries: _Tries,
        waiting: Waiting,
    ) -> Served[_T]:
        """One attempt; raises RetryError where another one may follow."""
        # A wait for a place is the endpoint's doing only while the limit is lowered.
        with waiting.wait() if self.limit.lowered and not self.limit.free else nullcontext():
            round_ = await self.limit.acquire()
        try:
            tries.begin(self._clock())
            reply = await self._post(body, content_type, token, tries.seconds_left)
            reply.check(self._url)
            value = read(reply)
            self.limit.succeeded()
            self._scale_up.leave(tries, ready=True)
            return Served(value, reply, tries.start, self._clock())
        except RetryError as failure:
            if failure.congested and not failure.not_ready:
                self.limit.congested(round_)
            raise
        except WrongCountError:
            raise
        except BadAnswerError as error:
            raise RetryError(str(error)) from error
        finally:
            self.limit.release()

    async def _post(self, body: bytes, content_type: str, token: str | None, seconds_left: float) -> Reply:
        headers = {"Content-Type": content_type}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        timeout = min(self._patience.timeout_s, seconds_left)
        try:
            async with self._session.post(
                self._url,
                data=body,
                headers=headers,
                timeout=aiohttp.ClientTimeout(total=timeout),
                allow_redirects=False,
            ) as response:
                found = {name.lower(): value for name, value in response.headers.items()}
                return Reply(response.status, found, await response.read())
        except TimeoutError as error:
            raise RetryError(f"no answer within {timeout:.3g} s", congested=True) from error
        except aiohttp.ClientPayloadError as error:
            raise RetryError("the connection was closed in the middle of the answer") from error
        except (aiohttp.ClientError, OSError) as error:
            raise RetryError(str(error) or type(error).__name__) from error

    async def _wait_for_scale_up(self, tries: _Tries, waiting: Waiting) -> None:
        begun = asyncio.get_running_loop().time()
        with waiting.wait():
            await self._scale_up.pause(tries, tries.scale_up_left)
        tries.scaled_up_for(asyncio.get_running_loop().time() - begun)

    async def _next_token(self, token: str | None, tries: _Tries, failure: RetryError) -> None:
        if self._tokens is None or token is None:
            raise EndpointError(
                f"{self._url} answered {failure}. It wants credentials: a Google access token is sent to the "
                "endpoint that --endpoint names"
            )
        tries.count_refused(token)
        self._tokens.refused(token)
        while self._tokens.current == token:
            tries.check(failure)
            await asyncio.sleep(_TOKEN_LOOK_S)

    def _log(self, failure: RetryError) -> None:
        """One line for a spell of trouble, not one for each call."""
        self._unlogged += 1
        now = asyncio.get_running_loop().time()
        if now - self._logged_at >= _LOG_EVERY_S:
            _LOGGER.warning("%s: %s; trying again (%d failed)", self._url, failure, self._unlogged)
            self._unlogged, self._logged_at = 0, now


class _Tries:
    """The attempts of one call: how many failed, and how much time is left."""

    def __init__(self, url: str, patience: RetryPolicy, clock: Callable[[], float]) -> None:
        self._url = url
        self._patience = patience
        self._clock = clock
        self._last_attempt_s = min(_LAST_ATTEMPT_S, patience.deadline_s / 4)
        self.failed = 0
        self._deadline = float("inf")
        self._scaling_s = 0.0
        self._tokens: set[str] = set()
        self.start = 0.0  # epoch seconds of the first attempt

    def begin(self, now: float) -> None:
        """An attempt begins. Only the first one, when it has its place, starts the clock."""
        if not self.start:
            self.start = now
            self._deadline = self._clock() + self._patience.deadline_s

    @property
    def seconds_left(self) -> float:
        return max(0.001, self._deadline - self._clock())

    @property
    def scale_up_left(self) -> float:
        """Seconds that may still be spent on the scale-up.

        Raises:
            TransientError: none.
        """
        left = self._patience.scale_up_wait_s - self._scaling_s
        if left <= 0:
            raise TransientError(
                f"{self._url} was not ready for inference within {self._patience.scale_up_wait_s:g} s "
                "(--endpoint_scale_up_wait_s)"
            )
        return left

    def scaled_up_for(self, seconds: float) -> None:
        """Takes these seconds off the scale-up's account, and not off the deadline's."""
        self._scaling_s += seconds
        self._deadline += seconds

    def pause(self, failure: RetryError, random_: random.Random) -> float:
        """Seconds to wait before the next attempt: exponential, jittered, at least what the server asked for.

        The last pause is cut short, so that there is one more attempt just before the deadline.

        Raises:
            TransientError: no time is left.
        """
        self.check(failure)
        longest = min(_FIRST_PAUSE_S * 2 ** min(self.failed - 1, 10), _LONGEST_PAUSE_S)
        pause = max(longest * random_.uniform(0.5, 1.0), failure.after_s)
        return min(pause, max(0.0, self._deadline - self._clock() - self._last_attempt_s))

    def check(self, failure: RetryError) -> None:
        """Raises TransientError when there is no time for another attempt worth the name."""
        if self._deadline - self._clock() <= self._last_attempt_s:
            raise TransientError(
                f"{self._url} failed for {self._patience.deadline_s:g} s (--endpoint_deadline_s), "
                f"{self.failed} times; at last: {failure}"
            ) from failure

    def count_refused(self, token: str) -> None:
        """Raises EndpointError when renewing the token has not helped."""
        self._tokens.add(token)
        if len(self._tokens) >= _TOKENS_TRIED:
            raise EndpointError(
                f"{self._url} refuses the access tokens of these credentials (401), a new one too: "
                "check whose they are, and that the endpoint is Vertex AI's"
            )
