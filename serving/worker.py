"""`python -m serving.worker`, started by the supervisor: a process that answers HTTP with a model of its own.

It does not listen, but is handed connections that the supervisor has accepted, so that each worker has its
share. A listening socket that all workers share tends to wake the same one, and with a socket for each
(SO_REUSEPORT) chance decides: a client's pool of a few connections would leave workers idle.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import socket
import sys
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING

import uvloop

from pipeline.batching.batch_queue import BatchQueue
from serving.app import Service
from serving.call_batcher import Answering, CallBatcher
from serving.control import BEAT_S, Begin, Failed, Follow, Load, Lost, Ready, Up
from serving.failure_log import FailureLog
from serving.http_server import HttpServer
from serving.limits import MAX_BODY_BYTES, BodyBuffer, Limits, body_limit
from serving.log import configure_logging
from serving.metrics import Metrics
from serving.options import Options
from serving.scoreboard import Scoreboard

if TYPE_CHECKING:
    from pipeline.model.active_model import ActiveModel
    from pipeline.request.input_spec import InputSpec

_LOGGER = logging.getLogger(__name__)

# A control message is read by the supervisor's event loop: it must come in one piece.
_MOST_OF_A_REASON = 4000  # characters


class _Worker:
    """One worker process: an HTTP server for the connections that it is handed, and its model.

    Args:
        control: Carries the messages of `serving.control` to and from the supervisor.
        connections: A Unix socket of single bytes, each with the file descriptor of a connection. The worker
            ends when the other side is closed.
        scoreboard: Shared with all processes.
        metrics: Shared with all processes, too.
    """

    def __init__(
        self, control: Connection, connections: socket.socket, scoreboard: Scoreboard, metrics: Metrics
    ) -> None:
        begin = control.recv()
        assert isinstance(begin, Begin)
        options = begin.options
        self._options: Options = options
        self._number: int = begin.number
        self._alone: int = begin.alone
        self._control = control
        self._connections = connections
        self._scoreboard = scoreboard
        self._metrics = metrics
        self._tally = metrics.worker(begin.number)
        self._message: Ready | Failed | None = None
        self._active: ActiveModel | None = None
        self._told_id = ""  # of the model that the tally names

    async def run(self) -> None:
        """Serve until the supervisor closes its end of `connections`, or dies; or until the model is lost."""
        loop = self._loop = asyncio.get_running_loop()
        options = self._options
        limits = Limits()
        self._calls = CallBatcher(
            BatchQueue(options.max_batch_size, options.max_batch_wait_ms / 1000),
            max_queue_size=options.max_queue_size,
            timeout_s=options.predict_timeout_s,
            count=partial(self._scoreboard.count_call, self._number),
            on_lost=self._lost,
        )
        # Until the model is loaded no body is read; then it says how large one may be.
        bodies = BodyBuffer(MAX_BODY_BYTES, limits.buffered_bytes)
        failures = FailureLog(loop.call_later)
        self._service = Service(
            lambda: self._scoreboard.state,
            self._calls,
            bodies,
            self._metrics,
            self._tally,
            failures,
            options.health_route,
            options.predict_route,
        )
        self._http = HttpServer(self._service, limits, partial(self._scoreboard.count_closed, self._number))
        self._connections.setblocking(False)
        loop.add_reader(self._connections, self._receive)
        serving = loop.create_task(self._http.serve())
        beating = loop.create_task(self._beat())
        self._control.send(Up())
        loading = loop.create_task(self._load())
        # A load that hangs must not keep the process from ending.
        await asyncio.wait({serving, beating, loading}, return_when=asyncio.FIRST_COMPLETED)
        if loading.done():
            loading.result()
            await asyncio.wait({serving, beating}, return_when=asyncio.FIRST_COMPLETED)
        if beating.done():
            beating.result()
        serving.result()
        failures.close()

    async def _beat(self) -> None:
        while True:
            self._scoreboard.beat(self._number)
            self._http.check()
            self._tally.now(waiting=self._calls.waiting, connections=self._http.connections)
            self._tell_model()
            await asyncio.sleep(BEAT_S)

    async def _load(self) -> None:
        # In the thread that will run it, with the import of torch, so that health answers meanwhile.
        answering = await self._calls.load(self._load_model)
        if answering is not None:
            self._tell_model()
            self._service.loaded = True
        if self._message is not None:
            self._control.send(self._message)

    def _tell_model(self) -> None:
        """Have the metrics name the model that serves, which a pointer may have replaced."""
        if self._active is not None and self._active.model.model_id != self._told_id:
            self._told_id = self._active.model.model_id
            self._tally.model(self._told_id)

    def _load_model(self) -> Answering | None:
        """Return what answers calls; None where the model does not load, or the supervisor is gone."""
        import torch

        from pipeline.request.errors import ModelError, TransientError
        from serving.predictor import Predictor

        options = self._options
        # If a process has several cores, one is left to HTTP: with a thread on each, every forward pass would
        # wait for the thread that lost its core.
        cores = options.cores // options.workers
        threads = max(1, cores - 1)
        torch.set_num_threads(threads)
        try:
            message = self._control.recv()
        except EOFError:
            return None  # the supervisor is gone
        assert isinstance(message, Load | Follow)
        try:
            if isinstance(message, Load):
                active, spec = self._load_file(message.model_file)
            else:
                active, spec = self._follow_pointer(message.turn_file, threads)
        except (ModelError, TransientError) as error:
            self._message = Failed(str(error)[:_MOST_OF_A_REASON])
            return None
        self._service.bodies.limit_bodies(body_limit(spec, options.max_batch_size))
        self._active = active
        self._message = Ready(active.model.model_id)
        return Predictor(active, spec, options.max_batch_size, self._alone, count=self._tally.batch)

    def _load_file(self, model_file: Path) -> tuple[ActiveModel, InputSpec]:
        from pipeline.model.active_model import ActiveModel
        from pipeline.model.compute import Compute
        from pipeline.model.files.stored_files import StoredFiles
        from pipeline.model.load import load
        from serving.cloud_storage import CloudStorage
        from serving.model_inputs import inputs_of
        from serving.storage import is_downloaded

        options = self._options
        spec = options.spec or inputs_of(StoredFiles(CloudStorage()), str(model_file))
        model = load(
            str(model_file),
            spec,
            model_class=options.model_class,
            model_params=options.model_params,
            max_batch_size=options.max_batch_size,
            compute=Compute(options.device, options.precision, cuda_graphs=options.cuda_graphs),
            is_private=is_downloaded(options.storage_uri),
        )
        # Health is told only once the first calls will find everything there: every batch size that has
        # kernels or graphs of its own. On the CPU none has: the first batch of a size takes no longer than
        # later ones with dense layers or an encoder; with convolutions twice as long, 2.6 ms for 5 images.
        model.warm_up()
        # What is there now stays, and the collector need not look at it again: 320,000 objects with the
        # example's model, for 160 ms each time.
        gc.collect()
        gc.freeze()
        return ActiveModel(model), spec

    def _follow_pointer(self, turn_file: Path, torch_threads: int) -> tuple[ActiveModel, InputSpec]:
        from pipeline.model.files.stored_files import StoredFiles
        from serving.cloud_storage import CloudStorage
        from serving.pointed_model import PointedModel

        def lost(reason: str) -> None:
            # No call is to blame for it.
            self._loop.call_soon_threadsafe(self._lost, reason, False)

        files = StoredFiles(CloudStorage())
        pointed = PointedModel(self._options, files, turn_file, torch_threads, lost)
        pointed.active.model.warm_up()
        pointed.watch()
        return pointed.active, pointed.spec

    def _lost(self, reason: str, device: bool) -> None:
        # Without its supervisor it ends anyway.
        with contextlib.suppress(BrokenPipeError):
            self._control.send(Lost(reason[:_MOST_OF_A_REASON], device))
        self._http.stop()

    def _receive(self) -> None:
        try:
            data, fds, _, _ = socket.recv_fds(self._connections, 1, 1)
        except BlockingIOError:
            return
        if not data:
            loop = asyncio.get_running_loop()
            loop.remove_reader(self._connections)
            self._http.stop()
            return
        for fd in fds:
            self._http.take(socket.socket(fileno=fd))


def main(arguments: list[str]) -> None:
    """Run a worker.

    Args:
        arguments: Its log format, and the file descriptors that it inherits: control, connections,
            scoreboard, metrics.
    """
    log_format, *fds = arguments
    control, connections, scoreboard, metrics = map(int, fds)
    configure_logging(log_format)
    code = 1
    try:
        worker = _Worker(
            Connection(control), socket.socket(fileno=connections), Scoreboard(scoreboard), Metrics(metrics)
        )
        uvloop.run(worker.run())
        code = 0
    except BaseException:
        _LOGGER.critical("the worker process failed", exc_info=True)
    finally:
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        # Not as Python ends: it would wait for the model's thread, which may hang.
        os._exit(code)


if __name__ == "__main__":
    main(sys.argv[1:])
