"""Real SDK harness processes, as Dataflow's workers have them, that run the bundles of one stage."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial
from itertools import count
from pathlib import Path
from queue import SimpleQueue
from typing import IO

import benchmarks
from benchmarks.harness.bundles import Bundle, ProcessLostError
from benchmarks.harness.fn_api import Connection, FnApiServer
from benchmarks.harness.fused_stage import FusedStage
from benchmarks.harness.processes import cpu_seconds

Command = Callable[[Mapping[str, str]], Sequence[str]]
"""Takes a process's environment variables, and returns the command that starts it. They are set for that
command; one that runs the process elsewhere, as in a container, must hand them on."""

END_S = 60  # for a process to end by itself once its control stream has ended
_REPOSITORY = Path(benchmarks.__file__).parents[1]
_MODULE = "apache_beam.runners.worker.sdk_worker_main"
_LAST_OUTPUT_BYTES = 4000


def this_python(variables: Mapping[str, str]) -> Sequence[str]:
    """Return the command that starts an SDK process with this interpreter."""
    return (sys.executable, "-m", _MODULE)


class EndedBadlyError(Exception):
    """A process did not end by itself, or not with code 0."""


class SdkHarness:
    """One process. Bundles may be submitted at once, before it has started up.

    Attributes:
        worker_id: Its name on the Fn API.
        pid: Of the command that started it.
    """

    def __init__(
        self,
        worker_id: str,
        connection: Connection,
        process: subprocess.Popen[bytes],
        output: IO[bytes],
    ) -> None:
        self.worker_id = worker_id
        self.pid = process.pid
        self._connection = connection
        self._process = process
        self._output = output
        self._watcher = threading.Thread(target=self._watch, name=f"watch-{worker_id}", daemon=True)
        self._watcher.start()

    @property
    def log(self) -> list[str]:
        """The last lines that it has logged, each begun with its severity."""
        return list(self._connection.log)

    @property
    def is_running(self) -> bool:
        """Whether the process runs."""
        return self._process.poll() is None

    def cpu_seconds(self) -> float:
        """Return the processor time of all its threads so far, user and system."""
        return cpu_seconds(self.pid)

    def submit(self, pieces: Iterable[bytes]) -> Future[Bundle]:
        """Start a bundle of these elements, as `fused_stage.encode` returns them.

        The future's exception is a BundleFailedError; it is a ProcessLostError where the process is gone.
        """
        return self._connection.submit(pieces)

    def kill(self) -> None:
        """Kill the process (SIGKILL), and wait for its end."""
        self._process.kill()
        self._watcher.join()

    def end(self) -> None:
        """End the control stream, upon which the process ends by itself, and wait for it.

        Raises:
            EndedBadlyError: It was still there after a minute and was killed, or its code was not 0.
        """
        was_running = self.is_running
        self._connection.lose(f"{self.worker_id} was ended")
        try:
            code = self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            self.kill()
            raise EndedBadlyError(
                f"{self.worker_id} was still running {END_S} s after its last bundle:{self._tail()}"
            ) from None
        self._watcher.join()
        if was_running and code:
            raise EndedBadlyError(f"{self.worker_id} ended with code {code}:{self._tail()}")

    def _watch(self) -> None:
        code = self._process.wait()
        self._connection.lose(f"{self.worker_id} has ended with code {code}:{self._tail()}")

    def _tail(self) -> str:
        """Return the end of what the process has printed."""
        size = os.fstat(self._output.fileno()).st_size
        text = os.pread(self._output.fileno(), _LAST_OUTPUT_BYTES, max(0, size - _LAST_OUTPUT_BYTES))
        return "\n" + text.decode(errors="replace")


class SdkHarnesses:
    """The processes of one stage.

    Attributes:
        running: Those that were started, dead ones included, in the order of their start.
    """

    def __init__(
        self,
        server: FnApiServer,
        options: str,
        output: IO[bytes],
        command: Command = this_python,
        folder: Path = _REPOSITORY,
    ) -> None:
        self.running: list[SdkHarness] = []
        self._server = server
        self._options = options
        self._output = output
        self._command = command
        self._folder = folder
        self._numbers = count()

    def start(self) -> SdkHarness:
        """Start one process more."""
        worker_id = f"sdk-{next(self._numbers)}"
        connection = self._server.expect(worker_id)
        variables = {
            "WORKER_ID": worker_id,
            "CONTROL_API_SERVICE_DESCRIPTOR": f'url: "{self._server.control_address}"',
            "LOGGING_API_SERVICE_DESCRIPTOR": f'url: "{self._server.logging_address}"',
            "PIPELINE_OPTIONS": self._options,
        }
        process = subprocess.Popen(
            self._command(variables),
            env={**os.environ, **variables},
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
        )
        harness = SdkHarness(worker_id, connection, process, self._output)
        self.running.append(harness)
        return harness


@contextmanager
def sdk_harnesses(
    stage: FusedStage,
    options: str,
    processes: int = 1,
    command: Command = this_python,
    folder: Path = _REPOSITORY,
) -> Iterator[SdkHarnesses]:
    """Start SDK processes for a stage, and end them with the `with`: each by itself, none is left.

    Args:
        stage: What they run.
        options: The pipeline options, as `Staged.worker_options` has them.
        processes: How many.
        command: Starts one.
        folder: That they run in. What they import must be there, or be installed.

    Raises:
        EndedBadlyError: A process did not end by itself, or not with code 0.
    """
    with tempfile.TemporaryFile() as output, FnApiServer(stage, processes) as server:
        harnesses = SdkHarnesses(server, options, output, command, folder)
        try:
            for _ in range(processes):
                harnesses.start()
            yield harnesses
        except BaseException:
            for harness in harnesses.running:
                harness.kill()
            raise
        ended_badly = []
        for harness in harnesses.running:
            try:
                harness.end()
            except EndedBadlyError as error:
                ended_badly.append(error)
        if ended_badly:
            raise ended_badly[0]


def run_bundles(
    harnesses: Sequence[SdkHarness], bundles: Iterable[Sequence[bytes]], in_flight: int
) -> list[Future[Bundle]]:
    """Run bundles, with so many in flight on each process at once, and wait for all.

    A process that is lost gets no more of them. What failed is in the futures, for the caller to try again.

    Args:
        harnesses: The processes.
        bundles: Elements, as `fused_stage.encode` returns them.
        in_flight: Bundles of one process at once: as many of its threads are busy.

    Returns:
        The futures, all done, in the order of the bundles.

    Raises:
        ProcessLostError: All processes are lost, and bundles are left.
    """
    slots: SimpleQueue[SdkHarness | None] = SimpleQueue()
    for _ in range(in_flight):
        for each in harnesses:
            slots.put(each)
    lost = 0
    futures: list[Future[Bundle]] = []
    for bundle in bundles:
        while (harness := slots.get()) is None:
            lost += 1
            if lost == in_flight * len(harnesses):
                raise ProcessLostError("all processes are lost, and bundles are left")
        future = harness.submit(bundle)
        future.add_done_callback(partial(_free, slots, harness))
        futures.append(future)
    for future in futures:
        future.exception()
    return futures


def _free(slots: SimpleQueue[SdkHarness | None], harness: SdkHarness, done: Future[Bundle]) -> None:
    """Give the slot of a bundle that is done to the next, unless its process is lost."""
    slots.put(None if isinstance(done.exception(), ProcessLostError) else harness)
