"""The container's main process: starts the workers, hands them connections, replaces dead ones, drains."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import subprocess
import sys
import threading
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from pipeline.process.user_modules import module_command
from serving.control import FINISH_WITHIN_S, Begin, Failed, Load, Ready, Up
from serving.options import Options
from serving.scoreboard import Scoreboard, State
from serving.storage import StorageError, fetch

_LOGGER = logging.getLogger(__name__)

# Connections that may wait to be accepted, as many as uvicorn's default. The kernel's own limit counts, too.
_BACKLOG = 2048
# A worker hangs if its queue of new connections stays full for so long.
_HANDING_TIMEOUT_S = 5.0
# Beyond what a worker gives its calls in flight: for leaving Python.
_LEAVE_WITHIN_S = 3.0


@dataclass
class _Worker:
    """A worker process as the supervisor sees it.

    Attributes:
        number: Counted from 0.
        process: As it was started.
        control: Carries the messages of `serving.control`.
        connections: Carries the connections that are handed to it.
        handed: How many have been.
        up: Whether it answers HTTP.
        ready: Whether its model is loaded and warm.
    """

    number: int
    process: subprocess.Popen[bytes]
    control: Connection
    connections: socket.socket
    handed: int = 0
    up: bool = False
    ready: bool = False


class Supervisor:
    """The supervisor of the workers of one listening socket; `run` is called once.

    The state is READY while every worker has loaded and warmed the model. A connection goes to the worker
    that has the fewest, ready ones first, so calls are served while a dead worker is being replaced.
    """

    def __init__(self, options: Options, listener: socket.socket, folder: Path) -> None:
        """Prepare to run; nothing is started yet.

        Args:
            options: Of the container.
            listener: A socket that is bound and listening.
            folder: An existing one, for a model file that must be downloaded.
        """
        self._options = options
        self._listener = listener
        self._folder = folder
        self._scoreboard, self._scoreboard_fd = Scoreboard.create(options.workers)
        self._workers: dict[int, _Worker] = {}
        self._model_file: Path | None = None
        self._announced = False
        self._drained = asyncio.Event()
        self._exit_code: asyncio.Future[int] = asyncio.Future()

    async def run(self) -> int:
        """Serve, and return the exit code: 0 after SIGTERM or SIGINT, 2 without a model, 1 otherwise."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._signalled)
        # Not before the handlers are in place: whoever reads this line may send a signal at once.
        print(f"serving listening on {self._options.host}:{self._listener.getsockname()[1]}", flush=True)
        self._listener.setblocking(False)
        try:
            for index in range(self._options.workers):
                self._start(index)
            # A daemon thread: a download cannot be interrupted, and must not keep the process from ending.
            threading.Thread(target=self._fetch, args=(loop,), daemon=True).start()
            return await self._exit_code
        finally:
            for worker in self._workers.values():
                worker.process.kill()
                worker.process.wait()

    def _start(self, number: int) -> None:
        mine, theirs = socket.socketpair(socket.AF_UNIX)
        ours, workers = socket.socketpair(socket.AF_UNIX)
        ours.settimeout(_HANDING_TIMEOUT_S)
        self._scoreboard.reset(number)
        with theirs, workers:
            fds = (theirs.fileno(), workers.fileno(), self._scoreboard_fd)
            # A session of its own: Ctrl-C in a terminal is the supervisor's to handle.
            process = subprocess.Popen(
                module_command("serving.worker", *map(str, fds)),
                pass_fds=fds,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        worker = _Worker(number, process, Connection(mine.detach()), ours)
        self._workers[number] = worker
        _send(worker, Begin(number, self._options))
        if self._model_file is not None:
            _send(worker, Load(self._model_file))
        asyncio.get_running_loop().add_reader(worker.control.fileno(), self._receive, worker)

    def _fetch(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            file = fetch(self._options.storage_uri, self._options.model_file, self._folder)
        except StorageError as error:
            loop.call_soon_threadsafe(self._end, 2, str(error))
        else:
            loop.call_soon_threadsafe(self._pass_on, file)

    def _pass_on(self, file: Path) -> None:
        self._model_file = file
        for worker in self._workers.values():
            _send(worker, Load(file))

    def _receive(self, worker: _Worker) -> None:
        try:
            message = worker.control.recv()
        except (EOFError, ConnectionResetError):
            self._lost(worker)
            return
        if isinstance(message, Up):
            worker.up = True
            self._watch_listener()
        elif isinstance(message, Ready):
            worker.ready = True
            self._now_ready(message.model_id)
        elif isinstance(message, Failed):
            self._end(2, message.reason.removeprefix("--model_path: "))

    def _now_ready(self, model_id: str) -> None:
        workers = self._workers.values()
        if self._scoreboard.state is State.DRAINING or not all(worker.ready for worker in workers):
            return
        self._scoreboard.state = State.READY
        if not self._announced:
            self._announced = True
            _LOGGER.info(
                "ready: model %s, workers: %d, health: GET %s, predictions: POST %s",
                model_id,
                len(workers),
                self._options.health_route,
                self._options.predict_route,
            )

    def _watch_listener(self) -> None:
        """Accept connections while a worker can answer them; until then they wait in the listener's queue."""
        if self._listener.fileno() < 0:
            return  # closed: draining is at its end
        loop = asyncio.get_running_loop()
        if any(worker.up for worker in self._workers.values()):
            loop.add_reader(self._listener, self._accept)
        else:
            loop.remove_reader(self._listener)

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:
            return  # gone again before it was accepted
        with connection:
            for worker in sorted(self._workers.values(), key=self._load_of):
                if worker.up and self._hand(worker, connection):
                    return

    def _load_of(self, worker: _Worker) -> tuple[bool, int]:
        return (not worker.ready, self._scoreboard.open_connections(worker.number, worker.handed))

    def _hand(self, worker: _Worker, connection: socket.socket) -> bool:
        try:
            socket.send_fds(worker.connections, [b"c"], [connection.fileno()])
        except TimeoutError:
            _LOGGER.error("worker %d takes no connections any more: ending it", worker.number)
            worker.process.kill()
            return False
        except OSError:
            return False  # it has died, which its control pipe will show
        worker.handed += 1
        return True

    def _lost(self, worker: _Worker) -> None:
        asyncio.get_running_loop().remove_reader(worker.control.fileno())
        worker.control.close()
        worker.connections.close()
        code = worker.process.wait()
        del self._workers[worker.number]
        self._watch_listener()
        if self._scoreboard.state is State.DRAINING:
            if not self._workers:
                self._drained.set()
            return
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        if not worker.ready:
            self._end(1, f"worker {worker.number} ended by {how} before its model was ready (out of memory?)")
            return
        self._scoreboard.state = State.LOADING
        _LOGGER.error("worker %d ended by %s: replacing it", worker.number, how)
        self._start(worker.number)

    def _signalled(self) -> None:
        if self._scoreboard.state is State.DRAINING:
            self._end(1, "a second signal: ending at once, without the calls in flight")
            return
        serving = any(worker.ready for worker in self._workers.values())
        self._scoreboard.state = State.DRAINING
        if not serving:
            self._end(0)
            return
        _LOGGER.info("draining: predictions are served for another %g s", self._options.drain_s)
        self._draining = asyncio.get_running_loop().create_task(self._drain())

    async def _drain(self) -> None:
        await asyncio.sleep(self._options.drain_s)
        asyncio.get_running_loop().remove_reader(self._listener)
        self._listener.close()
        for worker in self._workers.values():
            worker.connections.close()
            if not worker.ready:
                worker.process.kill()
        try:
            await asyncio.wait_for(self._drained.wait(), FINISH_WITHIN_S + _LEAVE_WITHIN_S)
        except TimeoutError:
            _LOGGER.error("calls in flight have not ended within %d s and are cut off", FINISH_WITHIN_S)
        self._end(0)

    def _end(self, exit_code: int, reason: str | None = None) -> None:
        if self._exit_code.done():
            return
        if reason is not None:
            print(f"serving: {' '.join(reason.split())}", file=sys.stderr)
        self._exit_code.set_result(exit_code)


def _send(worker: _Worker, message: Begin | Load) -> None:
    # If it has died, the end of its pipe will show it.
    with contextlib.suppress(BrokenPipeError):
        worker.control.send(message)


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket, whose queue holds the connections that come before there is a worker.

    Raises:
        OSError: The address is taken, or is not one of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=_BACKLOG)
