"""The processes of a local run: the broker, and the job, which is restarted after transient failures."""

from __future__ import annotations

import signal
import subprocess
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from loadtest.run_folder import append_to, new_file
from pipeline.process.exit import TRY_AGAIN
from pipeline.process.user_modules import module_command

FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 30.0
STOP_WITHIN_S = 15.0
_BROKER_SAYS = "broker listening on "
_WRONG_FLAGS = 2

OnFailure = Callable[[str], object]
"""Called from another thread once a process has ended by itself, with how, in one line."""


class ChildError(Exception):
    """A process did not start or ended by itself; the message says which and how, and shows its last lines.

    Attributes:
        exit_code: Of the process.
    """

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def how_it_ended(name: str, code: int) -> str:
    """Return in one line what became of a process that nobody stopped.

    Args:
        name: Such as "the job".
        code: As `subprocess` has it: negative for a signal.
    """
    if code < 0:
        return f"{name} was killed ({signal.Signals(-code).name})"
    if code == _WRONG_FLAGS:
        return f"{name} refused its flags, its model or a hook (exit code {code})"
    return f"{name} ended by itself with exit code {code}"


def stop(process: subprocess.Popen[str]) -> int:
    """Ask a process to end, kill it if it has not ended after 15 s, and return its exit code."""
    process.terminate()
    try:
        return process.wait(STOP_WITHIN_S)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def tail(log: Path, lines: int = 12) -> str:
    """Return the last lines of a log."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])


class Child:
    """A process that is watched: it is to run until it is stopped.

    Attributes:
        failure: How it ended, if it ended by itself.
    """

    def __init__(
        self, name: str, process: subprocess.Popen[str], log: Path, *, on_failure: OnFailure
    ) -> None:
        """Watch a process.

        Args:
            name: For messages, such as "the broker".
            process: In a session of its own.
            log: What it prints.
            on_failure: Called once `failure` is set.
        """
        self._name = name
        self._process = process
        self._log = log
        self._on_failure = on_failure
        self._stopping = threading.Event()
        self.failure: ChildError | None = None
        self._watcher = threading.Thread(target=self._watch, name=name, daemon=True)
        self._watcher.start()

    @property
    def pid(self) -> int:
        """The id of the process."""
        return self._process.pid

    def stop(self) -> int:
        """End it and return its exit code: 0 if it ended cleanly."""
        self._stopping.set()
        code = stop(self._process)
        self._watcher.join()
        if self._process.stdout is not None:
            self._process.stdout.close()
        return code

    def _watch(self) -> None:
        code = self._process.wait()
        if not self._stopping.is_set():
            self.failure = _failure(self._name, code, self._log)
            self._on_failure(how_it_ended(self._name, code))


def _failure(name: str, code: int, log: Path) -> ChildError:
    return ChildError(f"{how_it_ended(name, code)}; the end of {log}:\n{tail(log)}", code)


def start_broker(log: Path, *, on_failure: OnFailure) -> tuple[Child, str]:
    """Start `python -m broker` on a free port; return the process and its HOST:PORT.

    Raises:
        ChildError: The broker ended before it listened.
    """
    with new_file(log) as errors:
        process = subprocess.Popen(
            module_command("broker", "--port=0"),
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,
        )
    assert process.stdout is not None  # for mypy: it is a pipe
    line = process.stdout.readline()
    if not line.startswith(_BROKER_SAYS):
        raise ChildError(f"the broker did not start\n{tail(log)}", process.wait())
    return Child("the broker", process, log, on_failure=on_failure), line.removeprefix(_BROKER_SAYS).strip()


class Job:
    """The job as a process in a session of its own, started again whenever it ends with exit code 3.

    Attributes:
        failure: How it ended, if it ended by itself with another exit code.
        restarts: How often it was started again.
    """

    def __init__(self, arguments: Sequence[str], log: Path, *, on_failure: OnFailure) -> None:
        """Start it.

        Args:
            arguments: The job's flags.
            log: Receives what it prints, emptied at the start.
            on_failure: Called once `failure` is set.
        """
        self._arguments = module_command("pipeline", *arguments)
        self._log = log
        self._on_failure = on_failure
        self._stopping = threading.Event()
        # Held to start and to stop, so that no process is started once a stop has begun.
        self._lock = threading.Lock()
        self.failure: ChildError | None = None
        self.restarts = 0
        new_file(log).close()  # an earlier run into the same folder may have left one
        self._process = self._start()
        self._watcher = threading.Thread(target=self._watch, name="job", daemon=True)
        self._watcher.start()

    @property
    def pid(self) -> int:
        """The id of its process, another one after a restart."""
        return self._process.pid

    def stop(self) -> int:
        """End the job and return its exit code: 0 if it ended cleanly."""
        with self._lock:
            self._stopping.set()
            process = self._process
        code = stop(process)
        self._watcher.join()
        return code

    def _start(self) -> subprocess.Popen[str]:
        with append_to(self._log) as log:
            return subprocess.Popen(
                self._arguments,
                stdout=log,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )

    def _watch(self) -> None:
        pause = FIRST_PAUSE_S
        while True:
            code = self._process.wait()
            if self._stopping.is_set():
                return
            if code != TRY_AGAIN:
                self.failure = _failure("the job", code, self._log)
                self._on_failure(how_it_ended("the job", code))
                return
            self._stopping.wait(pause)
            pause = min(2 * pause, LONGEST_PAUSE_S)
            with self._lock:
                if self._stopping.is_set():
                    return
                self.restarts += 1
                self._process = self._start()
