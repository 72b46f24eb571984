"""The client that a process's bundle threads share: one event loop, one pool of connections, one limit."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass
from itertools import pairwise

import aiohttp

from pipeline.inference.endpoint.codec import Bodies, Predictions, WrongCountError, bodies
from pipeline.inference.endpoint.responses import RefusedError, Reply, RetryError
from pipeline.inference.endpoint.retrying import Calls, RetryPolicy
from pipeline.inference.endpoint.throttle import Waiting
from pipeline.inference.endpoint.token import TokenSource
from pipeline.options.address import Address
from pipeline.request.errors import InferenceError, TransientError
from pipeline.request.messages import DeadLetter, Request, Result

Answer = Result | DeadLetter

# How often a waiting bundle looks whether the process is to stop, and reports how long it was throttled.
LOOK_S = 0.2
# What calls in flight get when the process is told to stop: enough for most, and short of the forced end
# (`pipeline.process.stop.GRACE_S`).
FINISH_WITHIN_S = 5.0
# Shorter than our container's own, so that it is not the server who closes a connection that is just used.
_KEEPALIVE_S = 60.0
_CLOSE_WITHIN_S = 2.0


@dataclass(frozen=True)
class EndpointConfig:
    """What a job calls, and how.

    Attributes:
        address: where calls go.
        protocol: `predict` (JSON) or `raw` (float32 bytes).
        batch_size: most instances in one call.
        max_concurrency: most calls in flight, of this process.
        patience: how long a call is tried.
    """

    address: Address
    protocol: str
    batch_size: int
    max_concurrency: int
    patience: RetryPolicy


class EndpointClient:
    """Predictions of an endpoint for requests, from any number of threads."""

    def __init__(self, config: EndpointConfig, clock: Callable[[], float] = time.time) -> None:
        """Gets the first access token where one is needed; the endpoint itself is not contacted.

        Raises:
            EndpointError: there are no credentials, or they are refused.
            TransientError: the token server could not be reached.
        """
        self._config = config
        self._clock = clock
        self._bodies: Bodies = bodies(config.protocol)
        self._tokens = TokenSource.default() if config.address.needs_token else None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="endpoint calls", daemon=True)
        self._thread.start()
        self._calls = asyncio.run_coroutine_threadsafe(self._open(), self._loop).result()

    def __str__(self) -> str:
        return f"endpoint {self._config.address.url}"

    def predict(
        self,
        requests: Sequence[Request],
        *,
        stopping: Callable[[], bool],
        throttled: Callable[[float], object],
    ) -> list[Answer]:
        """One answer for each request, in order; blocks until all are there.

        Args:
            requests: split into calls of at most `batch_size`, which are in flight together.
            stopping: whether the process is to stop. Then a bundle that waits for the endpoint gives up, and
                one whose calls are in flight does so after a few seconds.
            throttled: told, about five times a second, for how many seconds the bundle was throttled since.

        Raises:
            TransientError: the endpoint did not serve them in time, or the process is to stop.
            EndpointError: the endpoint does not serve this job.
        """
        waiting = Waiting()
        future = asyncio.run_coroutine_threadsafe(self._answer_all(list(requests), waiting), self._loop)
        told = 0.0
        stopping_since: float | None = None
        try:
            while True:
                answers = _result_within(future, LOOK_S)
                seconds = waiting.seconds
                if seconds > told:
                    throttled(seconds - told)
                    told = seconds
                if answers is not None:
                    return answers
                if stopping():
                    stopping_since = stopping_since or time.monotonic()
                    if waiting.now or time.monotonic() - stopping_since >= FINISH_WITHIN_S:
                        raise TransientError(f"told to stop while waiting for {self._config.address.url}")
        finally:
            future.cancel()

    def close(self) -> None:
        """Cancels what is in flight and closes the connections. Closing again changes nothing."""
        if self._loop.is_closed():
            return
        if self._tokens is not None:
            self._tokens.close()
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(_CLOSE_WITHIN_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_CLOSE_WITHIN_S)
        if not self._thread.is_alive():
            self._loop.close()

    async def _open(self) -> Calls:
        # The limit on calls is ours; the pool's own would be a second one.
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEPALIVE_S)
        self._session = aiohttp.ClientSession(connector=connector)
        config = self._config
        return Calls(
            self._session,
            config.address,
            config.max_concurrency,
            config.patience,
            self._tokens,
            self._clock,
        )

    async def _close(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await self._session.close()

    async def _answer_all(self, requests: list[Request], waiting: Waiting) -> list[Answer]:
        # Even parts: 33 requests of at most 32 make 17 and 16, not 32 and 1.
        parts = -(-len(requests) // self._config.batch_size)
        bounds = [len(requests) * part // parts for part in range(parts + 1)] if parts else []
        return await self._together([requests[a:b] for a, b in pairwise(bounds)], waiting)

    async def _together(self, parts: list[list[Request]], waiting: Waiting) -> list[Answer]:
        if len(parts) == 1:
            return await self._answer(parts[0], waiting)
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._answer(part, waiting)) for part in parts]
        except BaseExceptionGroup as failures:
            # The first that failed; the group has cancelled the others.
            raise failures.exceptions[0] from None
        return [answer for task in tasks for answer in task.result()]

    async def _answer(self, requests: list[Request], waiting: Waiting) -> list[Answer]:
        """Answers of one call, or of its halves where the endpoint refuses it as a whole."""

        def read(reply: Reply) -> Predictions:
            try:
                return self._bodies.read(reply.body, reply.content_type, len(requests))
            except WrongCountError as error:
                if len(requests) > 1:
                    raise
                raise RetryError(str(error)) from error

        try:
            body = self._bodies.write([request.inputs for request in requests])
            served = await self._calls.call(body, self._bodies.content_type, read, waiting)
        except RefusedError as refusal:
            if len(requests) == 1:
                return [self._refuse(requests[0], f"the endpoint refused it: {refusal}")]
            return await self._halves(requests, waiting)
        except WrongCountError:
            # Which row is missing, nobody knows. One by one at the latest, each has its own.
            return await self._halves(requests, waiting)
        model_id = served.reply.model_id or served.value.model_id or self._config.address.url
        answers: list[Answer] = []
        for request, prediction in zip(requests, served.value.rows, strict=True):
            times = request.timeline
            times.inference_start, times.inference_end = served.start, served.end
            times.server_ms = served.reply.server_ms
            if prediction is None:
                reason = "the endpoint's prediction is null, or holds NaN or infinity"
                answers.append(self._refuse(request, reason))
            else:
                answers.append(Result(request, prediction, model_id, len(requests)))
        return answers

    async def _halves(self, requests: list[Request], waiting: Waiting) -> list[Answer]:
        # About 2·log2(n) further calls for one offender.
        middle = len(requests) // 2
        return await self._together([requests[:middle], requests[middle:]], waiting)

    def _refuse(self, request: Request, reason: str) -> DeadLetter:
        error = InferenceError(reason, request.request_id)
        return DeadLetter.of(error, request.data, request.attributes, self._clock())


def _result_within(future: Future[list[Answer]], seconds: float) -> list[Answer] | None:
    try:
        return future.result(seconds)
    except CancelledError as error:
        raise TransientError("the calls to the endpoint were cancelled: the process ends") from error
    except TimeoutError:
        if future.done():
            raise
        return None
