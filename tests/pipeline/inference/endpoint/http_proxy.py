"""An HTTP proxy on loopback: it tunnels what is asked for by CONNECT, and passes plain calls on."""

from __future__ import annotations

import asyncio
import threading
from types import TracebackType

from tests.waiting import LIMIT_S


class HttpProxy:
    """A proxy whose ways all lead to one server, whatever its client calls it.

    Attributes:
        heads: What its clients sent to itself, each up to the empty line.
        tunnelled: Bytes of the tunnels, as it sees them, from client to server.
        answer: To CONNECT.
        address: Its HOST:PORT, while the `with` block runs.
    """

    def __init__(self, host: str, port: int) -> None:
        self.heads: list[str] = []
        self.tunnelled = bytearray()
        self.answer = "200 Connection established"
        self._server = (host, port)

    def __enter__(self) -> HttpProxy:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._listener = asyncio.run_coroutine_threadsafe(
            asyncio.start_server(self._serve, "127.0.0.1", 0), self._loop
        ).result(LIMIT_S)
        self.address = f"127.0.0.1:{self._listener.sockets[0].getsockname()[1]}"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(LIMIT_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(LIMIT_S)
        self._loop.close()

    async def _close(self) -> None:
        self._listener.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            self.heads.append(head.decode())
            if head.startswith(b"CONNECT "):
                writer.write(f"HTTP/1.1 {self.answer}\r\n\r\n".encode())
                if not self.answer.startswith("200 "):
                    return
                head = b""
            there, back = await asyncio.open_connection(*self._server)
            back.write(head)
            try:
                await asyncio.gather(self._copy(reader, back, self.tunnelled), self._copy(there, writer))
            finally:
                back.close()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client has gone
        finally:
            writer.close()

    async def _copy(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, kept: bytearray | None = None
    ) -> None:
        while data := await reader.read(65_536):
            if kept is not None:
                kept += data
            writer.write(data)
            await writer.drain()
        writer.close()
