"""Calls the endpoint, and retries until the call is served, refused, or out of time."""

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

from pipeline.inference.endpoint.attempt import post
from pipeline.inference.endpoint.codec import BadResponseError, EncodedCall, SplitError
from pipeline.inference.endpoint.limit import ConcurrencyLimit
from pipeline.inference.endpoint.proxy import Proxy
from pipeline.inference.endpoint.responses import HttpResponse, RetryError
from pipeline.inference.endpoint.retry_policy import RetryPolicy, RetryState
from pipeline.inference.endpoint.scale_up import ScaleUp
from pipeline.inference.endpoint.throttle import ThrottleClock
from pipeline.inference.endpoint.token import TokenSource
from pipeline.options.address import Address
from pipeline.request.errors import EndpointError

_LOGGER = logging.getLogger(__name__)
_T = TypeVar("_T")

_TOKEN_POLL_S = 0.05
_LOG_EVERY_S = 30.0


@dataclass(frozen=True, slots=True)
class Response(Generic[_T]):
    """The response to a call that was served.

    Attributes:
        value: The decoded response.
        http: The response as it came.
        start: Epoch seconds at the start of the first attempt.
        end: Epoch seconds at the end of the last one.
    """

    value: _T
    http: HttpResponse
    start: float
    end: float


class RetryingClient:
    """A client that calls one endpoint for all bundles of a process. Its methods run on one event loop.

    Attributes:
        limit: On the calls in flight.
        attempts: Begun so far.
        congested: Of them, those that found the endpoint full (429), or too slow to answer in time.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        address: Address,
        max_concurrency: int,
        retry_policy: RetryPolicy,
        tokens: TokenSource | None,
        proxy: Proxy | None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Begin without a call.

        Args:
            session: Makes the HTTP calls.
            address: Where calls go.
            max_concurrency: Most calls in flight.
            retry_policy: How long a call is tried.
            tokens: Access tokens to send; None: none.
            proxy: Calls go through it; None: straight to the address.
            clock: Epoch seconds, for what is reported. Time limits follow the event loop's clock.
        """
        self._session = session
        self._url = address.url
        self._retry_policy = retry_policy
        self._tokens = tokens
        self._proxy = proxy
        self._clock = clock
        self._random = random.Random()
        self.limit = ConcurrencyLimit(max_concurrency)
        self.attempts = self.congested = 0
        self._scale_up = ScaleUp(address.url, retry_policy.scale_up_wait_s, self._random)
        self._unlogged = 0
        self._logged_at = -_LOG_EVERY_S

    async def call(
        self, encoded: EncodedCall, decode: Callable[[HttpResponse], _T], throttle: ThrottleClock
    ) -> Response[_T]:
        """POST a call, and return the response with what `decode` makes of it.

        Raises:
            RefusedError: The instances were refused.
            SplitError: `decode` found that smaller calls may be served.
            TransientError: The call failed until its time was up.
            EndpointError: The endpoint does not serve such calls, or can never be reached.
        """
        state = RetryState(self._url, self._retry_policy, asyncio.get_running_loop().time)
        try:
            while True:
                if self._scale_up.blocks(state):
                    await self._wait_for_scale_up(state, throttle)
                    continue
                token = self._tokens.current if self._tokens else None
                begun = asyncio.get_running_loop().time()
                try:
                    return await self._attempt(encoded, token, decode, state, throttle)
                except RetryError as failure:
                    if failure.not_ready:
                        state.exclude_scale_up(asyncio.get_running_loop().time() - begun)
                        await self._wait_for_scale_up(state, throttle)
                        continue
                    self._scale_up.leave(state, ready=False)
                    state.failed += 1
                    self._log(failure)
                    with throttle.measure():
                        if failure.token_refused:
                            await self._await_new_token(token, state, failure)
                        else:
                            await asyncio.sleep(state.pause(failure, self._random))
        finally:
            self._scale_up.leave(state, ready=False)

    async def _attempt(
        self,
        encoded: EncodedCall,
        token: str | None,
        decode: Callable[[HttpResponse], _T],
        state: RetryState,
        throttle: ThrottleClock,
    ) -> Response[_T]:
        """Make one attempt.

        Raises:
            RetryError: Another attempt may follow.
            Exception: As `call`.
        """
        # The endpoint is to blame for a wait for a slot only while the limit is lowered.
        with throttle.measure() if self.limit.lowered and not self.limit.free else nullcontext():
            round_ = await self.limit.acquire()
        self.attempts += 1
        try:
            state.begin(self._clock())
            http = await post(
                self._session,
                self._url,
                encoded,
                timeout_s=min(self._retry_policy.timeout_s, state.seconds_left),
                token=token,
                quota_project=self._tokens.quota_project if self._tokens is not None else None,
                proxy=self._proxy,
            )
            http.check(self._url)
            value = decode(http)
            self.limit.succeeded()
            self._scale_up.leave(state, ready=True)
            return Response(value, http, state.start, self._clock())
        except RetryError as failure:
            if failure.congested and not failure.not_ready:
                self.congested += 1
                self.limit.congested(round_)
            raise
        except SplitError:
            raise
        except BadResponseError as error:
            raise RetryError(str(error)) from error
        finally:
            self.limit.release()

    async def _wait_for_scale_up(self, state: RetryState, throttle: ThrottleClock) -> None:
        begun = asyncio.get_running_loop().time()
        with throttle.measure():
            await self._scale_up.pause(state, state.scale_up_left_s)
        state.exclude_scale_up(asyncio.get_running_loop().time() - begun)

    async def _await_new_token(self, token: str | None, state: RetryState, failure: RetryError) -> None:
        if self._tokens is None or token is None:
            raise EndpointError(
                f"{self._url} answered {failure}. It wants credentials: a Google access token is sent to the "
                "endpoint that --endpoint names"
            )
        state.count_refused(token)
        self._tokens.refused(token)
        while self._tokens.current == token:
            state.check_deadline(failure)
            await asyncio.sleep(_TOKEN_POLL_S)

    def _log(self, failure: RetryError) -> None:
        """Log failures, at most one line in `_LOG_EVERY_S` seconds for all calls together."""
        self._unlogged += 1
        now = asyncio.get_running_loop().time()
        if now - self._logged_at >= _LOG_EVERY_S:
            _LOGGER.warning("%s: %s; trying again (%d failed)", self._url, failure, self._unlogged)
            self._unlogged, self._logged_at = 0, now
