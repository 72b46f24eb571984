"""A worker's HTTP server, for connections that it is handed, and the limits that it holds clients to.

Only this module knows uvicorn and h11.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from enum import Enum, auto

import h11
import uvicorn
from starlette.types import ASGIApp

# uvicorn does not publish these two: setup.py keeps it below the next minor version, which may change them.
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from serving.control import FINISH_WITHIN_S
from serving.errors import error_response
from serving.limits import Limits

# Google's load balancers keep idle connections for 600 s and ask servers to keep them for longer. Else a
# server closes one just when the next call is on its way
# (https://cloud.google.com/load-balancing/docs/https#timeouts_and_retries).
_KEEP_ALIVE_S = 620


class _Phase(Enum):
    """What a connection is in the middle of.

    Attributes:
        SILENT: It is new; nothing has come.
        HEAD: A call has begun; its head is not complete.
        BODY: The head is complete, the body is not; it may have been answered already.
        ANSWER: The whole call has come, and is being answered.
        IDLE: Between two calls.
    """

    SILENT = auto()
    HEAD = auto()
    BODY = auto()
    ANSWER = auto()
    IDLE = auto()


class _Connection(H11Protocol):
    """uvicorn's HTTP/1.1 connection, which knows how long it has been in its phase.

    Attributes:
        phase: What it is in the middle of.
        since: When that began, by the loop's clock.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        state: ServerState,
        all_open: set[_Connection],
        closed: Callable[[], None],
    ) -> None:
        super().__init__(config, state, {})
        self._all_open = all_open
        self._closed = closed
        self.phase = _Phase.SILENT
        self.since = self.loop.time()
        self._untaken_since: float | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._all_open.add(self)

    def data_received(self, data: bytes) -> None:
        if self.phase in (_Phase.SILENT, _Phase.IDLE):
            self._enter(_Phase.HEAD)
        super().data_received(data)
        self._enter(self._phase())

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._enter(self._phase())

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._all_open.discard(self)
        self._closed()

    def check(self, limits: Limits) -> None:
        """Close the connection if its client is slower than it may be."""
        now = self.loop.time()
        if not self.transport.get_write_buffer_size():
            self._untaken_since = None
        elif self._untaken_since is None:
            self._untaken_since = now
        elif now - self._untaken_since > limits.answer_s:
            self.transport.abort()
        if self.transport.is_closing():
            return
        most = {
            _Phase.SILENT: limits.silence_s,
            _Phase.HEAD: limits.head_s,
            _Phase.BODY: limits.body_s,
        }.get(self.phase)
        if most is not None and now - self.since > most:
            self._expire(most)

    def close(self) -> None:
        """Close the connection, which is idle."""
        self.transport.close()

    def _expire(self, most: float) -> None:
        unanswered = self.cycle is None or not self.cycle.response_started
        if self.phase is _Phase.HEAD or (self.phase is _Phase.BODY and unanswered):
            part = self.phase.name.lower()
            message = f"the {part} of the call was not complete within {most:g} s"
            self.transport.write(error_response(408, message))
        self.transport.close()

    def _phase(self) -> _Phase:
        if self.conn.their_state is h11.SEND_BODY:
            return _Phase.BODY
        if self.cycle is not None and not self.cycle.response_complete:
            return _Phase.ANSWER
        return _Phase.HEAD if self.conn.trailing_data[0] else _Phase.IDLE

    def _enter(self, phase: _Phase) -> None:
        if phase is not self.phase:
            self.phase, self.since = phase, self.loop.time()


class HttpServer:
    """An HTTP server that does not listen."""

    def __init__(self, app: ASGIApp, limits: Limits, closed: Callable[[], None]) -> None:
        """Prepare to serve.

        Args:
            app: Answers the calls.
            limits: What clients are held to.
            closed: Called for each connection that is over.
        """
        self._limits = limits
        self._closed = closed
        self._config = uvicorn.Config(
            app,
            interface="asgi3",
            lifespan="off",
            ws="none",
            log_config=None,
            log_level="error",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=_KEEP_ALIVE_S,
            timeout_graceful_shutdown=FINISH_WITHIN_S,
        )
        self._config.load()
        self._server = uvicorn.Server(self._config)
        self._connections: set[_Connection] = set()
        self._accepting: set[asyncio.Task[None]] = set()

    @property
    def calls(self) -> int:
        """How many calls are being answered."""
        return len(self._server.server_state.tasks)

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return len(self._connections)

    async def serve(self) -> None:
        """Serve until `stop`, and then until the calls in flight are answered, for a few seconds at most."""
        await self._server.serve(sockets=[])

    def stop(self) -> None:
        """Close idle connections, and the others after their answer."""
        self._server.should_exit = True

    def take(self, connection: socket.socket) -> None:
        """Serve a connection, which becomes the server's own."""
        if len(self._connections) >= self._limits.connections:
            self._close_one()
        task = asyncio.get_running_loop().create_task(self._connect(connection))
        self._accepting.add(task)
        task.add_done_callback(self._accepting.discard)

    def check(self) -> None:
        """Hold all clients to the limits of time; to be called about twice a second."""
        for connection in list(self._connections):
            connection.check(self._limits)

    async def _connect(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        await asyncio.get_running_loop().connect_accepted_socket(self._new_connection, connection)

    def _new_connection(self) -> _Connection:
        return _Connection(self._config, self._server.server_state, self._connections, self._closed)

    def _close_one(self) -> None:
        idle = [one for one in self._connections if one.phase in (_Phase.IDLE, _Phase.SILENT)]
        if idle:
            min(idle, key=lambda one: one.since).close()
