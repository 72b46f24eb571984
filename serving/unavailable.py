"""503 from the supervisor itself, while no worker can take a connection."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable

from serving.errors import Reason, error_response

_RESPONSE = error_response(503, "no worker process answers at the moment")
# For the call's head to arrive, and for the client to close: the kernel throws an answer away if what the
# client sent is unread when the connection is closed.
_HEAD_WITHIN_S = 5.0
_CLOSED_WITHIN_S = 2.0
# More at once are closed without an answer.
_MOST = 200


class Unavailable:
    """Answers connections with 503 and closes them."""

    def __init__(self, count: Callable[[int, Reason], None]) -> None:
        """Begin; `count` is called with the status and the reason of each answer."""
        self._count = count
        self._tasks: set[asyncio.Task[None]] = set()

    def take(self, connection: socket.socket) -> None:
        """Answer a connection, which may be closed afterwards: it is duplicated."""
        if len(self._tasks) >= _MOST:
            return
        own = connection.dup()
        own.setblocking(False)
        task = asyncio.get_running_loop().create_task(self._answer(own))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, connection: socket.socket) -> None:
        reader, writer = await asyncio.open_connection(sock=connection)
        try:
            with contextlib.suppress(OSError, EOFError, asyncio.LimitOverrunError, TimeoutError):
                async with asyncio.timeout(_HEAD_WITHIN_S):
                    await reader.readuntil(b"\r\n\r\n")
                writer.write(_RESPONSE)
                self._count(503, Reason.NOT_READY)
                writer.write_eof()
                async with asyncio.timeout(_CLOSED_WITHIN_S):
                    while await reader.read(2**16):
                        pass
        finally:
            writer.transport.abort()
