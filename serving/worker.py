"""`python -m serving.worker`, started by the supervisor: a process that answers HTTP with a model of its own.

It does not listen, but is handed connections that the supervisor has accepted, so that each worker has its
share. A listening socket that all workers share tends to wake the same one, and with a socket for each
(SO_REUSEPORT) chance decides: a client's pool of a few connections would leave workers idle.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection

import uvicorn

# uvicorn does not publish these two: setup.py keeps it below the next minor version, which may change them.
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from serving.app import Service, make_app
from serving.control import FINISH_WITHIN_S, Begin, Failed, Load, Ready, Up
from serving.log import configure_logging
from serving.options import Options
from serving.scoreboard import Scoreboard

# Google's load balancers keep idle connections for 600 s and ask servers to keep them for longer. Else a
# server closes one just when the next call is on its way
# (https://cloud.google.com/load-balancing/docs/https#timeouts_and_retries).
_KEEP_ALIVE_S = 620


class _Connection(H11Protocol):
    """uvicorn's HTTP/1.1 connection, which counts on the scoreboard when it is over."""

    def __init__(
        self, config: uvicorn.Config, state: ServerState, scoreboard: Scoreboard, number: int
    ) -> None:
        super().__init__(config, state, {})
        self._scoreboard = scoreboard
        self._number = number

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._scoreboard.count_closed(self._number)


class _Worker:
    """One worker process: an HTTP server for the connections that it is handed, and its model.

    Args:
        control: Carries the messages of `serving.control` to and from the supervisor.
        connections: A Unix socket of single bytes, each with the file descriptor of a connection. The worker
            ends when the other side is closed.
        scoreboard: Shared with all processes.
    """

    def __init__(self, control: Connection, connections: socket.socket, scoreboard: Scoreboard) -> None:
        begin = control.recv()
        assert isinstance(begin, Begin)
        self._options: Options = begin.options
        self._number: int = begin.number
        self._control = control
        self._connections = connections
        self._scoreboard = scoreboard
        # One: calls of a model do not run faster side by side, and torch uses several cores by itself.
        self._model_thread = ThreadPoolExecutor(1, "model")
        self._service = Service(lambda: scoreboard.state, self._model_thread)
        app = make_app(self._service, self._options.health_route, self._options.predict_route)
        self._config = uvicorn.Config(
            app,
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
        self._accepting: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Serve until the supervisor closes its end of `connections`, or dies."""
        loop = asyncio.get_running_loop()
        self._connections.setblocking(False)
        loop.add_reader(self._connections, self._receive)
        serving = loop.create_task(self._server.serve(sockets=[]))
        self._control.send(Up())
        await self._load()
        await serving

    async def _load(self) -> None:
        # In the thread that will run it, with the import of torch, so that health answers meanwhile.
        message = await asyncio.get_running_loop().run_in_executor(self._model_thread, self._load_model)
        if message is not None:
            self._control.send(message)

    def _load_model(self) -> Ready | Failed | None:
        import torch

        from pipeline.model.compute import Compute
        from pipeline.model.load import load
        from pipeline.request.errors import ModelError
        from serving.predictor import Predictor
        from serving.storage import is_downloaded

        options = self._options
        # If a process has several cores, one is left to HTTP: with a thread on each, every forward pass would
        # wait for the thread that lost its core.
        cores = options.cores // options.workers
        torch.set_num_threads(max(1, cores - 1))
        try:
            message = self._control.recv()
        except EOFError:
            return None  # the supervisor is gone
        assert isinstance(message, Load)
        try:
            model = load(
                str(message.model_file),
                options.spec,
                model_class=options.model_class,
                model_params=options.model_params,
                max_batch_size=options.max_batch_size,
                compute=Compute(options.device, options.precision, cuda_graphs=options.cuda_graphs),
                is_private=is_downloaded(options.storage_uri),
            )
        except ModelError as error:
            return Failed(str(error))
        # Health is told only once the first calls will find everything there.
        model.warm_up()
        self._service.predictor = Predictor(model, options.spec, options.max_batch_size)
        return Ready(model.model_id)

    def _receive(self) -> None:
        try:
            data, fds, _, _ = socket.recv_fds(self._connections, 1, 1)
        except BlockingIOError:
            return
        if not data:
            loop = asyncio.get_running_loop()
            loop.remove_reader(self._connections)
            self._server.should_exit = True
            return
        for fd in fds:
            task = asyncio.get_running_loop().create_task(self._serve(socket.socket(fileno=fd)))
            self._accepting.add(task)
            task.add_done_callback(self._accepting.discard)

    async def _serve(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        state = self._server.server_state
        await asyncio.get_running_loop().connect_accepted_socket(
            lambda: _Connection(self._config, state, self._scoreboard, self._number), connection
        )


def main(arguments: list[str]) -> None:
    """Run a worker on three inherited file descriptors: control, connections, scoreboard."""
    control, connections, scoreboard = map(int, arguments)
    configure_logging(logging.INFO)
    with socket.socket(fileno=connections) as inherited:
        worker = _Worker(Connection(control), inherited, Scoreboard(scoreboard))
        asyncio.run(worker.run())


if __name__ == "__main__":
    main(sys.argv[1:])
