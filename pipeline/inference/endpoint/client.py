"""The client that the bundle threads of a process share: one event loop, connection pool and limit."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass
from itertools import pairwise

from pipeline.inference.endpoint.attempt import open_session, trusted_by
from pipeline.inference.endpoint.body import MAX_ANSWER_BYTES
from pipeline.inference.endpoint.codec import Predictions, SplitError, TooLargeError
from pipeline.inference.endpoint.protocols import codec_for
from pipeline.inference.endpoint.proxy import proxy_for
from pipeline.inference.endpoint.refusals import Refusals, reason
from pipeline.inference.endpoint.responses import HttpResponse, RefusedError, RetryError, printable
from pipeline.inference.endpoint.retry_policy import RetryPolicy
from pipeline.inference.endpoint.retrying import RetryingClient
from pipeline.inference.endpoint.throttle import ThrottleClock
from pipeline.inference.endpoint.token import TokenSource
from pipeline.options.address import Address
from pipeline.pubsub.limits import MAX_ATTRIBUTE_VALUE_BYTES
from pipeline.request.errors import InferenceError, TransientError
from pipeline.request.messages import DeadLetter, Request, Result

_LOGGER = logging.getLogger(__name__)

# How often a waiting bundle checks whether the process is to stop, and reports how long it was throttled.
POLL_S = 0.2
# How long calls in flight may go on when the process is to stop: enough for most, and less than the time
# until the forced end (`pipeline.process.stop.GRACE_S`).
FINISH_WITHIN_S = 5.0
_CLOSE_WITHIN_S = 2.0


@dataclass(frozen=True)
class EndpointConfig:
    """The endpoint that a job calls, and how.

    Attributes:
        address: Where calls go.
        protocol: `predict` (JSON), `raw` (bytes) or `triton`.
        batch_size: Most instances in one call.
        max_concurrency: Most calls of this process in flight.
        retry_policy: How long a call is tried.
    """

    address: Address
    protocol: str
    batch_size: int
    max_concurrency: int
    retry_policy: RetryPolicy


class EndpointClient:
    """A client that gets predictions from an endpoint, for any number of threads."""

    def __init__(self, config: EndpointConfig, clock: Callable[[], float] = time.time) -> None:
        """Get the first access token if the endpoint needs one; the endpoint itself is not contacted.

        Raises:
            EndpointError: There are no credentials, or they are refused; or the environment names no proper
                proxy or certificates.
            TransientError: The token server could not be reached.
        """
        self._config = config
        self._clock = clock
        self._codec = codec_for(config.protocol, config.address)
        self._refusals = Refusals(config.address.url)
        self._proxy = proxy_for(config.address)
        if self._proxy is not None:
            _LOGGER.info("calls to %s go through %s", config.address.url, self._proxy)
        self._tls = trusted_by(config.address)
        self._tokens = TokenSource.default() if config.address.needs_token else None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="endpoint calls", daemon=True)
        self._thread.start()
        self._http = asyncio.run_coroutine_threadsafe(self._open(), self._loop).result()
        self._lock = threading.Lock()  # guards the two sums over all bundles
        self._waited_s = self._throttled_s = 0.0

    def __str__(self) -> str:
        return f"endpoint {self._config.address.url}"

    def predict(
        self,
        requests: Sequence[Request],
        *,
        stopping: Callable[[], bool],
        throttled: Callable[[float], object],
    ) -> list[Result | DeadLetter]:
        """Return one outcome for each request, in order. Block until all are there.

        Args:
            requests: Split into calls of at most `batch_size`, which are in flight together.
            stopping: Returns whether the process is to stop. Then a bundle that waits for the endpoint gives
                up at once, and one whose calls are in flight after a few seconds.
            throttled: Called about five times a second while the bundle is throttled, with the seconds since
                the last call.

        Raises:
            TransientError: The endpoint did not serve them in time, or the process is to stop.
            EndpointError: The endpoint does not serve this job.
        """
        throttle = ThrottleClock()
        begun = time.monotonic()
        future = asyncio.run_coroutine_threadsafe(self._predict_all(list(requests), throttle), self._loop)
        reported_s = 0.0
        stopping_since: float | None = None
        try:
            while True:
                outcomes = _result_within(future, POLL_S)
                throttled_s = throttle.seconds
                if throttled_s > reported_s:
                    throttled(throttled_s - reported_s)
                    reported_s = throttled_s
                if outcomes is not None:
                    return outcomes
                if stopping():
                    stopping_since = stopping_since or time.monotonic()
                    if throttle.running or time.monotonic() - stopping_since >= FINISH_WITHIN_S:
                        raise TransientError(f"told to stop while waiting for {self._config.address.url}")
        finally:
            future.cancel()
            with self._lock:
                self._waited_s += time.monotonic() - begun
                self._throttled_s += throttle.seconds

    def close(self) -> None:
        """Cancel what is in flight, close the connections, and log what waiting there was.

        Closing again changes nothing.
        """
        if self._loop.is_closed():
            return
        if self._tokens is not None:
            self._tokens.close()
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(_CLOSE_WITHIN_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_CLOSE_WITHIN_S)
        if not self._thread.is_alive():
            self._loop.close()
        # Read by people, and by `loadtest.bottleneck.job_log`.
        _LOGGER.info(
            "%s: %d attempts, %d of them found it full; bundles waited for it for %.3f s, "
            "throttled for %.3f s",
            self._config.address.url,
            self._http.attempts,
            self._http.congested,
            self._waited_s,
            self._throttled_s,
        )

    async def _open(self) -> RetryingClient:
        # `RetryingClient` limits the calls.
        self._session = open_session(self._tls)
        config = self._config
        return RetryingClient(
            self._session,
            config.address,
            config.max_concurrency,
            config.retry_policy,
            self._tokens,
            self._proxy,
            self._clock,
        )

    async def _close(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await self._session.close()

    async def _predict_all(
        self, requests: list[Request], throttle: ThrottleClock
    ) -> list[Result | DeadLetter]:
        # Even parts: for at most 32 in a call, 33 requests make 17 and 16, not 32 and 1.
        parts = -(-len(requests) // self._config.batch_size)
        bounds = [len(requests) * part // parts for part in range(parts + 1)] if parts else []
        return await self._together([requests[a:b] for a, b in pairwise(bounds)], throttle)

    async def _together(
        self, parts: list[list[Request]], throttle: ThrottleClock
    ) -> list[Result | DeadLetter]:
        if len(parts) == 1:
            return await self._predict(parts[0], throttle)
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._predict(part, throttle)) for part in parts]
        except BaseExceptionGroup as failures:
            # The first failure; the group has cancelled the other calls.
            raise failures.exceptions[0] from None
        return [outcome for task in tasks for outcome in task.result()]

    async def _predict(self, requests: list[Request], throttle: ThrottleClock) -> list[Result | DeadLetter]:
        """Return the outcomes of one call, or of its halves if the endpoint refuses the call as a whole."""

        def decode(http: HttpResponse) -> Predictions:
            try:
                if http.cut:
                    raise TooLargeError(f"the answer has more than {MAX_ANSWER_BYTES:,} bytes")
                return self._codec.decode(http.body, http.headers, len(requests))
            except SplitError as error:
                if len(requests) > 1:
                    raise
                raise RetryError(str(error)) from error

        rows = [request.inputs for request in requests]
        refused = 0
        while True:
            try:
                response = await self._http.call(self._codec.encode(rows), decode, throttle)
                break
            except RefusedError as refusal:
                refused += 1
                if len(requests) > 1:
                    if await self._refusals.is_to_halve(refusal, refused):
                        return await self._halves(requests, throttle)
                elif await self._refusals.is_believed(refusal, refused):
                    return [self._dead_letter(requests[0], reason(refusal))]
            except SplitError:
                # Nobody knows which row is missing. One by one at the latest, each request has its own.
                return await self._halves(requests, throttle)
        self._refusals.served()
        http = response.http
        model_id = http.model_id or response.value.model_id or http.deployed_model_id
        # It becomes an attribute.
        model_id = printable(model_id or self._config.address.url, MAX_ATTRIBUTE_VALUE_BYTES)
        outcomes: list[Result | DeadLetter] = []
        for request, prediction in zip(requests, response.value.rows, strict=True):
            times = request.timeline
            times.inference_start, times.inference_end = response.start, response.end
            times.server_ms = response.http.server_ms
            if prediction is None:
                null = "the endpoint's prediction is null, or holds NaN or infinity"
                outcomes.append(self._dead_letter(request, null))
            else:
                outcomes.append(Result(request, prediction, model_id, len(requests)))
        return outcomes

    async def _halves(self, requests: list[Request], throttle: ThrottleClock) -> list[Result | DeadLetter]:
        # About 2·log2(n) further calls for one offender.
        middle = len(requests) // 2
        return await self._together([requests[:middle], requests[middle:]], throttle)

    def _dead_letter(self, request: Request, why: str) -> DeadLetter:
        error = InferenceError(why, request.request_id)
        return DeadLetter.of(error, request.data, request.attributes, self._clock())


def _result_within(
    future: Future[list[Result | DeadLetter]], seconds: float
) -> list[Result | DeadLetter] | None:
    try:
        try:
            return future.result(seconds)
        except TimeoutError:
            # The outcomes may have arrived since it gave up.
            return future.result() if future.done() else None
    except CancelledError as error:
        raise TransientError("the calls to the endpoint were cancelled: the process ends") from error
