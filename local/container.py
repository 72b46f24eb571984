"""The endpoint container as a process of a local run: started, awaited, watched, stopped."""

from __future__ import annotations

import http.client
import os
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

from loadtest.run import RunError
from loadtest.run_folder import new_file
from local import children
from local.children import ChildError
from pipeline.process.user_modules import module_command

HEALTHY_WITHIN_S = 120.0
POLL_INTERVAL_S = 0.05
HEALTH_TIMEOUT_S = 5.0
_HEALTH, _PREDICT = "/health", "/predict"
_SAYS = "serving listening on "


class Container:
    """`python -m serving` on a free port of 127.0.0.1, in a session of its own.

    It keeps its default number of workers, one a core, although broker, job and driver share these cores.
    Measured on 2 cores at 1,000 requests a second, twice: all were carried, at a p50 of 54 and 34 ms. With
    --workers=1, whose one model computes on two threads, 470 and 660 a second were carried.

    Attributes:
        failure: How it ended, if it ended by itself.
    """

    def __init__(
        self, storage: str, arguments: Sequence[str], log: Path, *, on_failure: Callable[[], None]
    ) -> None:
        """Start it.

        Args:
            storage: Folder of the model file.
            arguments: Flags of the container, without its address.
            log: Receives what it prints, emptied at the start.
            on_failure: Called from another thread once `failure` is set.
        """
        self._log = log
        self._on_failure = on_failure
        self._stopping = threading.Event()
        self.failure: ChildError | None = None
        # All of them are set, so that none comes from the user's environment.
        settings = {
            "AIP_HTTP_PORT": "0",
            "AIP_HEALTH_ROUTE": _HEALTH,
            "AIP_PREDICT_ROUTE": _PREDICT,
            "AIP_STORAGE_URI": storage,
        }
        with new_file(log) as output:
            self._process = subprocess.Popen(
                # The job has ended before it is stopped: there is nothing to drain.
                module_command("serving", "--host=127.0.0.1", "--drain_s=0", *arguments),
                env=os.environ | settings,
                stdout=output,  # not a pipe, which would have to be emptied for as long as it runs
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
        self._watcher = threading.Thread(target=self._watch, name="container", daemon=True)
        self._watcher.start()

    @property
    def pid(self) -> int:
        """The id of its first process, the parent of its workers."""
        return self._process.pid

    def predict_url(self, stop: threading.Event) -> str:
        """Wait until it is healthy, for at most 120 s, and return the URL of its predictions.

        Raises:
            ChildError: It ended, or was not healthy in time.
            RunError: `stop` was set meanwhile.
        """
        deadline = time.monotonic() + HEALTHY_WITHIN_S
        while time.monotonic() < deadline:
            address = self._address()
            if address and _is_healthy(address):
                return f"http://{address}{_PREDICT}"
            if self.failure:
                raise self.failure
            if stop.wait(POLL_INTERVAL_S):
                # It may have been set because the container has just ended.
                raise self.failure or RunError("interrupted while the endpoint container was starting")
        raise ChildError(
            f"the endpoint container is not healthy after {HEALTHY_WITHIN_S:g} s; the end of {self._log}:\n"
            + children.tail(self._log),
            exit_code=1,
        )

    def stop(self) -> int:
        """End it and return its exit code: 0 if it ended cleanly."""
        self._stopping.set()
        code = children.stop(self._process)
        self._watcher.join()
        return code

    def _address(self) -> str | None:
        for line in self._log.read_text(errors="replace").splitlines(keepends=True):
            if line.startswith(_SAYS) and line.endswith("\n"):
                return line.removeprefix(_SAYS).strip()
        return None

    def _watch(self) -> None:
        code = self._process.wait()
        if self._stopping.is_set():
            return
        self.failure = ChildError(
            f"the endpoint container ended by itself with exit code {code}; the end of {self._log}:\n"
            + children.tail(self._log),
            code,
        )
        self._on_failure()


def _is_healthy(address: str) -> bool:
    # Not urllib: it would ask a proxy that the environment names.
    with closing(http.client.HTTPConnection(address, timeout=HEALTH_TIMEOUT_S)) as connection:
        try:
            connection.request("GET", _HEALTH)
            return connection.getresponse().status == http.HTTPStatus.OK
        except OSError:
            return False
