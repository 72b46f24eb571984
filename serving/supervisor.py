"""The container's main process: starts workers, hands them connections, replaces those that hang, drains."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import subprocess
import threading
from collections import defaultdict
from pathlib import Path

from serving.control import FINISH_WITHIN_S, Begin, Failed, Follow, Load, Lost, Ready, Up
from serving.metrics import Metrics
from serving.options import Options
from serving.scoreboard import Scoreboard, State
from serving.storage import StorageError, fetch
from serving.unavailable import Unavailable
from serving.watchdog import LOOK_S, Backoff
from serving.worker_process import WorkerProcess

_LOGGER = logging.getLogger(__name__)

# Connections that may wait to be accepted. The kernel's own limit counts, too.
_BACKLOG = 2048
# For a worker to answer what waits, and to leave Python.
_LEAVE_WITHIN_S = 3.0
# A worker notices itself that its call takes too long, and can still answer; later than this, it cannot.
_NOTICE_WITHIN_S = 2.0
# A process that lives on so long after SIGKILL hangs in the kernel, as in the driver of a lost device.
_KILLED_WITHIN_S = 5.0


# Calls that the process after one that lost its device computes each by itself. It was lost in a batch of
# several, and whichever did it gets 422 then; the others were told to come again after a second.
_ALONE = 1000


class Supervisor:
    """The supervisor of the workers of one listening socket; `run` is called once.

    The state is READY once every worker has loaded and warmed the model, and then while one that has is left.
    A connection goes to the worker that has the fewest, ready ones first, so calls are served while a worker
    is being replaced.
    """

    def __init__(self, options: Options, listener: socket.socket, folder: Path) -> None:
        """Prepare to run; nothing is started yet.

        Args:
            options: Of the container.
            listener: A socket that is bound and listening.
            folder: An existing one, for a model file that must be downloaded, and for what workers share.
        """
        self._options = options
        self._listener = listener
        self._folder = folder
        self._scoreboard, scoreboard_fd = Scoreboard.create(options.workers)
        self._metrics, metrics_fd = Metrics.create(options.workers)
        self._tally = self._metrics.supervisor
        self._shared_fds = (scoreboard_fd, metrics_fd)
        self._workers: dict[int, WorkerProcess] = {}
        # Whose process lost its device: a call may be to blame, and come again.
        self._suspicious: set[int] = set()
        self._backoffs: defaultdict[int, Backoff] = defaultdict(Backoff)
        self._unavailable = Unavailable(self._tally.answered)
        # Which model to load; None while that is not known.
        self._load: Load | Follow | None = None
        if options.model_pointer is not None:
            self._load = Follow(folder / "turn")
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
        looking = loop.create_task(self._look())
        try:
            for index in range(self._options.workers):
                self._start(index)
            loop.add_reader(self._listener, self._accept)
            if self._load is None:
                # A daemon: a download cannot be interrupted, and must not keep the process from ending.
                threading.Thread(target=self._fetch, args=(loop,), daemon=True).start()
            await asyncio.wait({looking, self._exit_code}, return_when=asyncio.FIRST_COMPLETED)
            return self._exit_code.result() if self._exit_code.done() else looking.result()
        finally:
            looking.cancel()
            self._kill_all()

    def _start(self, number: int) -> None:
        if self._scoreboard.state is State.DRAINING:
            return
        alone = _ALONE if number in self._suspicious else 0
        self._suspicious.discard(number)
        begin = Begin(number, self._options, alone)
        tally = self._metrics.worker(number)
        worker = WorkerProcess(begin, self._scoreboard, tally, self._shared_fds)
        self._workers[number] = worker
        if self._load is not None:
            worker.load(self._load)
        asyncio.get_running_loop().add_reader(worker.control.fileno(), self._receive, worker)

    def _kill_all(self) -> None:
        for worker in self._workers.values():
            worker.kill()
        for worker in self._workers.values():
            try:
                worker.process.wait(_KILLED_WITHIN_S)
            except subprocess.TimeoutExpired:
                _LOGGER.error("worker %d cannot be killed and is left behind", worker.number)
            asyncio.get_running_loop().remove_reader(worker.control.fileno())
            worker.close()

    def _fetch(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            file = fetch(self._options.storage_uri, self._options.model_file, self._folder)
        except StorageError as error:
            loop.call_soon_threadsafe(self._end, 2, str(error))
        else:
            loop.call_soon_threadsafe(self._pass_on, file)

    def _pass_on(self, file: Path) -> None:
        self._load = Load(file)
        for worker in self._workers.values():
            worker.load(self._load)

    def _receive(self, worker: WorkerProcess) -> None:
        try:
            message = worker.control.recv()
        except (EOFError, OSError):
            asyncio.get_running_loop().remove_reader(worker.control.fileno())
            worker.end("", _LEAVE_WITHIN_S)
            self._update_state()
            return
        if isinstance(message, Up):
            worker.up = True
        elif isinstance(message, Ready):
            worker.became_ready()
            self._announce(message.model_id)
        elif isinstance(message, Lost):
            if message.device:
                self._suspicious.add(worker.number)
            worker.end(message.reason, _LEAVE_WITHIN_S)
        elif isinstance(message, Failed):
            self._load_failed(worker, 2, message.reason.removeprefix("--model_path: "))
        self._update_state()

    def _announce(self, model_id: str) -> None:
        ready = sum(worker.ready for worker in self._workers.values())
        if self._announced or ready < self._options.workers:
            return
        self._announced = True
        _LOGGER.info(
            "ready: model %s, workers: %d, health: GET %s, predictions: POST %s",
            model_id,
            ready,
            self._options.health_route,
            self._options.predict_route,
        )

    def _update_state(self) -> None:
        self._tally.ready(sum(worker.ready for worker in self._workers.values()))
        if self._scoreboard.state is not State.DRAINING:
            ready = self._announced and self._any_ready
            self._scoreboard.state = State.READY if ready else State.LOADING

    @property
    def _any_ready(self) -> bool:
        return any(worker.ready for worker in self._workers.values())

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:
            return  # gone again before it was accepted
        with connection:
            for worker in sorted(self._workers.values(), key=lambda worker: worker.rank):
                if worker.takes_connections and worker.hand(connection):
                    return
            self._unavailable.take(connection)

    async def _look(self) -> int:
        """Look at the workers for ever; what hangs is ended and what has ended is replaced."""
        loop = asyncio.get_running_loop()
        looked = loop.time()
        while True:
            await asyncio.sleep(LOOK_S)
            elapsed_s, looked = loop.time() - looked, loop.time()
            for worker in list(self._workers.values()):
                worker.look(elapsed_s)
                self._look_at(worker)

    def _look_at(self, worker: WorkerProcess) -> None:
        if worker.process.poll() is not None:
            self._ended(worker)
        elif worker.reason is not None:
            if worker.overdue_s > 0:
                worker.kill()
            if worker.overdue_s > _KILLED_WITHIN_S:
                self._end(1, f"worker {worker.number} cannot be killed: its device hangs")
        elif worker.ready:
            limit_s = self._options.predict_timeout_s
            if worker.watch.call_s > limit_s + _NOTICE_WITHIN_S:
                worker.end(f"a call of the model took more than {limit_s:g} s (--predict_timeout_s)", 0.0)
            elif worker.watch.silent_s > limit_s + _NOTICE_WITHIN_S:
                worker.end(f"no heartbeat for {limit_s:g} s (--predict_timeout_s)", 0.0)
            self._update_state()
        elif worker.loading_s > self._options.load_timeout_s:
            limit_s = self._options.load_timeout_s
            self._load_failed(worker, 1, f"the model is not loaded after {limit_s:g} s (--load_timeout_s)")

    def _load_failed(self, worker: WorkerProcess, exit_code: int, reason: str) -> None:
        if self._any_ready and self._announced:
            worker.end(reason, 0.0)  # the others serve; it is tried again
        else:
            self._end(exit_code, reason)

    def _ended(self, worker: WorkerProcess) -> None:
        if worker.reason is None:
            worker.end("", 0.0)
        asyncio.get_running_loop().remove_reader(worker.control.fileno())
        worker.close()
        code = worker.process.wait()
        del self._workers[worker.number]
        self._update_state()
        if self._scoreboard.state is State.DRAINING:
            if not self._workers:
                self._drained.set()
            return
        how = worker.reason or f"ended by {f'signal {-code}' if code < 0 else f'exit code {code}'}"
        if not worker.was_ready and not (self._any_ready and self._announced):
            self._end(1, f"worker {worker.number} {how} before its model was ready (out of memory?)")
            return
        pause_s = self._backoffs[worker.number].pause(worker.served_s)
        _LOGGER.error("worker %d %s: replacing it in %g s", worker.number, how, pause_s)
        self._tally.restarted()
        asyncio.get_running_loop().call_later(pause_s, self._start, worker.number)

    def _signalled(self) -> None:
        if self._scoreboard.state is State.DRAINING:
            self._end(1, "a second signal: ending at once, without the calls in flight")
            return
        serving = self._any_ready
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
            worker.finish()
            if not worker.ready:
                worker.kill()
        if self._workers:
            try:
                await asyncio.wait_for(self._drained.wait(), FINISH_WITHIN_S + _LEAVE_WITHIN_S)
            except TimeoutError:
                _LOGGER.error("calls in flight have not ended within %d s and are cut off", FINISH_WITHIN_S)
        self._end(0)

    def _end(self, exit_code: int, reason: str | None = None) -> None:
        if self._exit_code.done():
            return
        if reason is not None:
            _LOGGER.critical("serving: %s", " ".join(reason.split()))
        self._exit_code.set_result(exit_code)


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket, whose queue holds the connections that come before there is a worker.

    Raises:
        OSError: The address is taken, or is not one of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=_BACKLOG)
