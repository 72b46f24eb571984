"""A scripted endpoint on loopback: sums of features as predictions, and what a test wants to go wrong."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np
import orjson
from aiohttp import web

from tests.waiting import LIMIT_S

READY_SOON = "Model is not yet ready for inference"


@dataclass(frozen=True)
class Reply:
    """An answer as it is sent."""

    status: int
    body: bytes


class ScriptedEndpoint:
    """A server of POST on every path. Each entry of `script` decides one call, in order; then all are served.

    An entry is a status, a reply, or a function from the predictions to what is answered in their place.

    Attributes:
        sizes: Instances of each call, in the order of their arrival.
        tokens: The Authorization header of each call.
        heads: All headers of each call.
        most_in_flight: Calls at once, at most.
        hold: While it is cleared, calls that would be served wait.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self.script: list[int | Reply | Callable[[list[Any]], object]] = []
        self.refuse: Callable[[list[Any]], int | Reply | None] = lambda instances: None
        self.accept_token: Callable[[str | None], bool] = lambda token: True
        self.message = "scripted"
        self.refusal_headers: dict[str, str] = {}
        self.headers: dict[str, str] = {"X-Model-Id": "sum@1", "Server-Timing": "total;dur=1.5"}
        self.sizes: list[int] = []
        self.tokens: list[str | None] = []
        self.heads: list[Mapping[str, str]] = []
        self.paths: list[str] = []
        self.most_in_flight = 0
        self.hold = threading.Event()
        self.hold.set()
        self._in_flight = 0

    def __enter__(self) -> ScriptedEndpoint:
        started = threading.Event()
        self._loop = asyncio.new_event_loop()

        async def serve() -> None:
            app = web.Application()
            app.router.add_post("/{path:.*}", self._answer)
            self._runner = web.AppRunner(app, access_log=None)
            await self._runner.setup()
            await web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=self._tls).start()
            self.port = self._runner.addresses[0][1]
            self.address = f"http{'' if self._tls is None else 's'}://127.0.0.1:{self.port}"
            started.set()

        self._loop.create_task(serve())
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        assert started.wait(LIMIT_S)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.hold.set()
        asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result(LIMIT_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(LIMIT_S)
        self._loop.close()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        raw = request.content_type == "application/x-float32"
        if raw:
            instances = np.frombuffer(body, "<f4").reshape(-1, 3).tolist()
        else:
            instances = orjson.loads(body)["instances"]
        token = request.headers.get("Authorization")
        self.sizes.append(len(instances))
        self.tokens.append(token)
        self.heads.append(request.headers)
        self.paths.append(request.path)
        self._in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self._in_flight)
        try:
            step = self.script.pop(0) if self.script else 200
            if not self.accept_token(token):
                step = 401
            if step == 200:
                step = self.refuse(instances) or 200
            if isinstance(step, Reply):
                return web.Response(status=step.status, body=step.body, content_type="application/json")
            if isinstance(step, int) and step != 200:
                error = {"error": {"code": step, "message": self.message}}
                return web.json_response(error, status=step, headers=self.refusal_headers)
            while not self.hold.is_set():
                await asyncio.sleep(0.002)
            if raw:
                sums = np.array(instances, "<f4").sum(axis=1)
                media_type = {"Content-Type": f"application/x-float32; shape={len(sums)}"}
                return web.Response(body=sums.tobytes(), headers={**self.headers, **media_type})
            predictions = [sum(instance) for instance in instances]
            answer = step(predictions) if callable(step) else {"predictions": predictions}
            data = answer if isinstance(answer, bytes) else orjson.dumps(answer)
            return web.Response(body=data, headers=self.headers, content_type="application/json")
        finally:
            self._in_flight -= 1
