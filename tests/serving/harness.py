"""The HTTP server of a worker in this process, with a puppet for its model."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from pathlib import Path

import uvloop

from pipeline.batching.batch_queue import BatchQueue
from pipeline.model.active_model import ActiveModel
from pipeline.model.model import Model
from pipeline.request.input_spec import InputSpec
from serving.app import Service
from serving.call_batcher import CallBatcher
from serving.failure_log import FailureLog
from serving.http_server import HttpServer
from serving.limits import BodyBuffer, Limits, body_limit
from serving.metrics import Metrics
from serving.predictor import Predictor
from serving.scoreboard import State
from tests.serving.container import JSON, Answer, call
from tests.serving.models import Puppet
from tests.waiting import LIMIT_S

ONE = InputSpec.parse("1")
CHECK_S = 0.02


class Harness:
    """A service on a thread of its own, and its address.

    Attributes:
        lost: Why the process would have to end, and whether for its device.
        counted: How often a call of the model has begun or ended.
        closed: How many connections are over.
        metrics: Of a container with this one worker.
    """

    def __init__(
        self,
        folder: Path,
        limits: Limits | None = None,
        predict_timeout_s: float = LIMIT_S,
        max_batch_size: int = 4,
        max_queue_size: int = 512,
    ) -> None:
        self.state = State.READY
        self.model = Model(Puppet(str(folder)), ONE, "puppet@1")
        self.lost: list[tuple[str, bool]] = []
        self.counted = 0
        self.closed = 0
        self.metrics, fd = Metrics.create(workers=1)
        os.close(fd)
        self._limits = limits or Limits()
        self._predict_timeout_s = predict_timeout_s
        self._max_batch_size = max_batch_size
        self._max_queue_size = max_queue_size
        self._started = threading.Event()
        self._runner = threading.Thread(target=lambda: uvloop.run(self._run()))
        self._runner.start()
        assert self._started.wait(LIMIT_S)

    async def _run(self) -> None:
        limits = self._limits
        self.calls = CallBatcher(
            BatchQueue(self._max_batch_size, 0.0),
            max_queue_size=self._max_queue_size,
            timeout_s=self._predict_timeout_s,
            count=self._count,
            on_lost=lambda reason, device: self.lost.append((reason, device)),
        )
        self.bodies = BodyBuffer(body_limit(ONE, self._max_batch_size), limits.buffered_bytes)
        tally = self.metrics.worker(0)
        self._loop = asyncio.get_running_loop()
        self.service = Service(
            lambda: self.state,
            self.calls,
            self.bodies,
            self.metrics,
            tally,
            FailureLog(self._loop.call_later),
            "/health",
            "/predict",
        )
        self.predictor = Predictor(ActiveModel(self.model), ONE, self._max_batch_size, count=tally.batch)
        await self.calls.load(lambda: self.predictor)
        self.service.loaded = True
        self.server = HttpServer(self.service, limits, self._count_closed)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.setblocking(False)
            self.address = f"127.0.0.1:{listener.getsockname()[1]}"
            tasks = [self._loop.create_task(work) for work in (self._accept(listener), self._check())]
            self._started.set()
            await self.server.serve()
            for task in tasks:
                task.cancel()
        self.calls.close()

    async def _accept(self, listener: socket.socket) -> None:
        while True:
            self.server.take((await self._loop.sock_accept(listener))[0])

    async def _check(self) -> None:
        while True:
            self.server.check()
            await asyncio.sleep(CHECK_S)

    def _count(self) -> None:
        self.counted += 1

    def _count_closed(self) -> None:
        self.closed += 1

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self.server.stop)
        self._runner.join()

    def predict(self, body: bytes, content_type: str = JSON) -> Answer:
        return call(self.address, "POST", "/predict", body, content_type)
