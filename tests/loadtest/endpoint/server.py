"""A server whose truth is known: its time by rows, what it refuses, when it stalls, who is connected."""

from __future__ import annotations

import asyncio
import threading
from types import TracebackType

import orjson
from aiohttp import web

from tests.waiting import LIMIT_S


class KnownEndpoint:
    """Answers `{"instances": …}` with as many predictions, on loopback, from a thread of its own.

    Attributes:
        a_s: Seconds of a call whatever it holds, slept while no other call is served.
        b_s: Seconds that each row adds.
        most_waiting: Calls that may wait for the one worker; further ones get 429. None: any number.
        most_rows: That a call may have; others get 400. None: any number.
        script: Statuses of the next calls, in order; then all are served.
        retry_after: Of refusals, seconds.
        body: In place of the predictions of calls that are served.
        open: While it is cleared, calls wait.
        rows: Of each call, in the order of arrival.
        connections: Distinct connections that calls came on.
        in_flight: Calls now; `most_in_flight`, at most so far.
        heads: Headers of each call.
        paths: Of each call.
    """

    def __init__(self, a_s: float = 0.0, b_s: float = 0.0) -> None:
        self.a_s, self.b_s = a_s, b_s
        self.most_waiting: int | None = None
        self.most_rows: int | None = None
        self.script: list[int] = []
        self.body: bytes | None = None
        self.retry_after = "2"
        self.open = threading.Event()
        self.open.set()
        self.rows: list[int] = []
        self.heads: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.connections: set[int] = set()
        self.in_flight = self.most_in_flight = 0
        self._transports: list[object] = []  # alive, so that no id comes again

    def __enter__(self) -> KnownEndpoint:
        started = threading.Event()
        self._loop = asyncio.new_event_loop()

        async def serve() -> None:
            self._worker = asyncio.Lock()
            app = web.Application()
            app.router.add_post("/{path:.*}", self._answer)
            self._runner = web.AppRunner(app, access_log=None)
            await self._runner.setup()
            await web.TCPSite(self._runner, "127.0.0.1", 0).start()
            self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/predict"
            started.set()

        self._serving = self._loop.create_task(serve())
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        assert started.wait(LIMIT_S)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.open.set()
        asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result(LIMIT_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(LIMIT_S)
        self._loop.close()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        if id(request.transport) not in self.connections:
            self._transports.append(request.transport)
            self.connections.add(id(request.transport))
        count = len(orjson.loads(await request.read())["instances"])
        self.rows.append(count)
        self.heads.append(dict(request.headers))
        self.paths.append(request.path)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            status = self.script.pop(0) if self.script else 200
            if self.most_waiting is not None and self.in_flight > self.most_waiting + 1:
                status = 429
            if self.most_rows is not None and count > self.most_rows:
                status = 400
            if status != 200:
                error = {"error": {"code": status, "message": "scripted", "status": "UNAVAILABLE"}}
                return web.json_response(error, status=status, headers={"Retry-After": self.retry_after})
            while not self.open.is_set():
                await asyncio.sleep(0.002)
            if self.a_s or self.b_s:
                async with self._worker:
                    await asyncio.sleep(self.a_s + self.b_s * count)
            body = self.body or orjson.dumps({"predictions": [0.5] * count})
            return web.Response(
                body=body, content_type="application/json", headers={"Server-Timing": "total;dur=1.5"}
            )
        finally:
            self.in_flight -= 1
