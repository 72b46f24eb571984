"""Makes calls, and says of each when it left, when it ended, and whether it was served."""

from __future__ import annotations

import asyncio
import math
import selectors
from dataclasses import dataclass
from types import SimpleNamespace, TracebackType
from typing import Any

import aiohttp

from loadtest.clock import Clock
from loadtest.endpoint.bodies import Body
from pipeline.inference.endpoint.attempt import open_session, post, trusted_by
from pipeline.inference.endpoint.codec import BadResponseError
from pipeline.inference.endpoint.protocols import codec_for
from pipeline.inference.endpoint.proxy import proxy_for
from pipeline.inference.endpoint.responses import HttpResponse, RefusedError, RetryError
from pipeline.inference.endpoint.token import TokenSource
from pipeline.options.address import Address
from pipeline.request.errors import EndpointError

TIME_OUT = "time-out"
NO_ANSWER = "no answer"
BAD_ANSWER = "bad answer"


@dataclass(frozen=True)
class Target:
    """What is called, and how.

    Attributes:
        address: Where calls go.
        protocol: `predict` (JSON), `raw` (bytes) or `triton`.
        timeout_s: Seconds until the whole answer of a call must be there.
    """

    address: Address
    protocol: str
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one call. Times are the clock's, NaN for none.

    Attributes:
        failure: Empty where it was served; else the HTTP status, TIME_OUT, NO_ANSWER (no connection, or it
            broke) or BAD_ANSWER (200, and not what the protocol says).
        reason: Of a failure, in words.
        transient: Of a failure: another attempt may be served.
        sent_at: When it was written to the socket.
        ended_at: When its answer was whole, or when it had failed.
        connect_s: Seconds that its own new connection took, TLS with it; NaN where a kept one was used.
        server_ms: Milliseconds that the server says it took.
        retry_after_s: Seconds that the server asked to wait; 0 if it did not.
    """

    failure: str
    reason: str
    transient: bool
    sent_at: float
    ended_at: float
    connect_s: float
    server_ms: float
    retry_after_s: float


class _Seen:
    """What aiohttp's trace tells of one call."""

    def __init__(self) -> None:
        self.sent_at = self.connecting_at = self.connect_s = math.nan


def new_loop() -> asyncio.AbstractEventLoop:
    """Return an event loop that wakes on time: by select, whose time-outs are microseconds.

    Those of epoll are whole milliseconds: the p99 of the schedule error was 1.2 ms with it and 0.25 ms with
    select, at 200, 1,000 and 2,000 calls a second of one core to a server that answers at once. Threads that
    each block in http.client were at 0.13 to 0.23 ms, with half of the processor time a call at most (106 to
    193 µs, aiohttp 117 to 270); but proxies, TLS, tokens and errors are the job's own only with its client.
    select takes file descriptors below 1,024.
    """
    return asyncio.SelectorEventLoop(selectors.SelectSelector())


class Caller:
    """Calls one endpoint, on the running event loop, from `async with` on."""

    def __init__(self, target: Target, clock: Clock, tokens: TokenSource | None = None) -> None:
        """Contact nothing.

        Raises:
            EndpointError: The environment names no proper proxy or certificates.
        """
        self.target = target
        self.clock = clock
        self._tokens = tokens
        self._codec = codec_for(target.protocol, target.address)
        self._proxy = proxy_for(target.address)
        self._tls = trusted_by(target.address)

    async def __aenter__(self) -> Caller:
        self._kept = open_session(self._tls, self._trace())
        self._fresh = open_session(self._tls, self._trace(), keep=False)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._kept.close()
        await self._fresh.close()

    async def forget_connections(self) -> None:
        """Close all kept connections, also of calls that were given up; the next calls open new ones."""
        await self._kept.close()
        self._kept = open_session(self._tls, self._trace())

    async def call(self, body: Body, *, fresh: bool = False) -> Answer:
        """Make one call, on a connection that was kept, or on a new one, which is closed after it.

        Raises:
            asyncio.CancelledError: It was given up.
        """
        seen = _Seen()
        token = self._tokens.current if self._tokens is not None else None
        failure, reason, transient, retry_after_s = "", "", False, 0.0
        http: HttpResponse | None = None
        ended_at = math.nan
        try:
            http = await post(
                self._fresh if fresh else self._kept,
                self.target.address.url,
                body.encoded,
                timeout_s=self.target.timeout_s,
                token=token,
                quota_project=self._tokens.quota_project if self._tokens is not None else None,
                proxy=self._proxy,
                trace_context=seen,
            )
            # Before anything is made of it: that is the driver's time.
            ended_at = self.clock()
            http.check(self.target.address.url)
            if http.cut:
                raise BadResponseError("the answer is larger than what is read of one")
            self._codec.decode(http.body, http.headers, body.rows)
        except RetryError as error:
            failure = _failure_of(http, error)
            reason, transient, retry_after_s = str(error), True, error.after_s
            if error.token_refused and self._tokens is not None and token is not None:
                self._tokens.refused(token)
        except (RefusedError, EndpointError) as error:
            failure, reason = str(http.status) if http is not None else NO_ANSWER, str(error)
        except BadResponseError as error:
            failure, reason = BAD_ANSWER, str(error)
        return Answer(
            failure,
            reason,
            transient,
            seen.sent_at,
            self.clock() if math.isnan(ended_at) else ended_at,
            seen.connect_s,
            math.nan if http is None or http.server_ms is None else http.server_ms,
            retry_after_s,
        )

    def _trace(self) -> aiohttp.TraceConfig:
        trace = aiohttp.TraceConfig()

        async def chunk_sent(session: aiohttp.ClientSession, context: SimpleNamespace, _: Any) -> None:
            # Called just before the body goes to the socket, head and all.
            seen: _Seen = context.trace_request_ctx
            if math.isnan(seen.sent_at):
                seen.sent_at = self.clock()

        async def connecting(session: aiohttp.ClientSession, context: SimpleNamespace, _: Any) -> None:
            context.trace_request_ctx.connecting_at = self.clock()

        async def connected(session: aiohttp.ClientSession, context: SimpleNamespace, _: Any) -> None:
            seen: _Seen = context.trace_request_ctx
            seen.connect_s = self.clock() - seen.connecting_at

        trace.on_request_chunk_sent.append(chunk_sent)
        trace.on_connection_create_start.append(connecting)
        trace.on_connection_create_end.append(connected)
        return trace


def _failure_of(http: HttpResponse | None, error: RetryError) -> str:
    if http is not None:
        # Of a 200 that is compressed.
        return BAD_ANSWER if http.status == 200 else str(http.status)
    cause = error.__cause__
    answered_late = isinstance(cause, TimeoutError) and not isinstance(cause, aiohttp.ConnectionTimeoutError)
    return TIME_OUT if answered_late else NO_ANSWER
