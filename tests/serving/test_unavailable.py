from __future__ import annotations

import asyncio
import socket

from serving.errors import Reason
from serving.unavailable import Unavailable


def test_an_answer_of_the_supervisor_is_counted() -> None:
    counted: list[tuple[int, Reason]] = []

    async def ask() -> bytes:
        unavailable = Unavailable(lambda status, reason: counted.append((status, reason)))
        client, server = socket.socketpair()
        with server:
            unavailable.take(server)
        reader, writer = await asyncio.open_connection(sock=client)
        assert counted == []
        writer.write(b"POST /predict HTTP/1.1\r\nHost: test\r\n\r\n")
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        return answer

    assert asyncio.run(ask()).startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
    assert counted == [(503, Reason.NOT_READY)]
