"""A worker's HTTP server, for connections that it is handed."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

from serving.connection import Connection, Phase
from serving.control import FINISH_WITHIN_S
from serving.errors import Refusal
from serving.exchange import Writer
from serving.handler import Handler
from serving.limits import Limits

_LOOK_S = 0.05


class HttpServer:
    """An HTTP server that does not listen."""

    def __init__(self, handler: Handler, limits: Limits, closed: Callable[[], None]) -> None:
        """Prepare to serve.

        Args:
            handler: Answers the calls.
            limits: What clients are held to.
            closed: Called for each connection that is over.
        """
        self._handler = handler
        self._limits = limits
        self._closed = closed
        self._writer = Writer()
        self._connections: set[Connection] = set()
        self._accepting: set[asyncio.Task[None]] = set()
        self._stopping = asyncio.Event()

    @property
    def calls(self) -> int:
        """How many connections have a call that is not answered."""
        return sum(connection.busy for connection in self._connections)

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return len(self._connections)

    async def serve(self) -> None:
        """Serve until `stop`, and then until the calls in flight are answered, for a few seconds at most."""
        await self._stopping.wait()
        deadline = asyncio.get_running_loop().time() + FINISH_WITHIN_S
        while self._accepting or self._connections:
            for connection in list(self._connections):
                connection.end()
            if asyncio.get_running_loop().time() >= deadline:
                break
            await asyncio.sleep(_LOOK_S)
        for connection in list(self._connections):
            connection.give_up(Refusal(503, "the container ends, and this call has not"))

    def stop(self) -> None:
        """Close idle connections, and the others after their answer."""
        self._stopping.set()

    def take(self, connection: socket.socket) -> None:
        """Serve a connection, which becomes the server's own."""
        if len(self._connections) >= self._limits.connections:
            self._close_one()
        task = asyncio.get_running_loop().create_task(self._connect(connection))
        self._accepting.add(task)
        task.add_done_callback(self._accepting.discard)

    def check(self) -> None:
        """Hold all clients to the limits of time; to be called about twice a second."""
        self._writer.tick()
        for connection in list(self._connections):
            connection.check(self._limits)

    async def _connect(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        await asyncio.get_running_loop().connect_accepted_socket(self._new_connection, connection)

    def _new_connection(self) -> Connection:
        return Connection(self._handler, self._writer, self._connections, self._closed)

    def _close_one(self) -> None:
        idle = [one for one in self._connections if one.phase in (Phase.IDLE, Phase.SILENT)]
        if idle:
            min(idle, key=lambda one: one.since).end()
