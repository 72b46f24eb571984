"""The endpoint container as a process of a local run: started, awaited, watched, stopped."""

from __future__ import annotations

import http.client
import os
import subprocess
import threading
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from loadtest.driver.errors import RunError
from loadtest.run_folder import new_file
from local.children import Child, ChildError, OnFailure, tail
from pipeline.process.user_modules import module_command

HEALTHY_WITHIN_S = 120.0
POLL_INTERVAL_S = 0.05
HEALTH_TIMEOUT_S = 5.0
_HEALTH, _PREDICT = "/health", "/predict"
_SAYS = "serving listening on "


class Container(Child):
    """`python -m serving` on a free port of 127.0.0.1, in a session of its own.

    It keeps its default number of workers, one a core, although broker, job and driver share these cores.
    Measured on 2 cores at 1,000 requests a second, twice: all were carried, at a p50 of 54 and 34 ms. With
    --workers=1, whose one model computes on two threads, 470 and 660 a second were carried.
    """

    def __init__(self, storage: str, arguments: Sequence[str], log: Path, *, on_failure: OnFailure) -> None:
        """Start it.

        Args:
            storage: Folder of the model file.
            arguments: Flags of the container, without its address.
            log: Receives what it prints, emptied at the start.
            on_failure: Called once `failure` is set.
        """
        # All of them are set, so that none comes from the user's environment.
        settings = {
            "AIP_HTTP_PORT": "0",
            "AIP_HEALTH_ROUTE": _HEALTH,
            "AIP_PREDICT_ROUTE": _PREDICT,
            "AIP_STORAGE_URI": storage,
        }
        with new_file(log) as output:
            process = subprocess.Popen(
                # The job has ended before it is stopped: there is nothing to drain.
                module_command("serving", "--host=127.0.0.1", "--drain_s=0", *arguments),
                env=os.environ | settings,
                stdout=output,  # not a pipe, which would have to be emptied for as long as it runs
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
        super().__init__("the endpoint container", process, log, on_failure=on_failure)

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
            + tail(self._log),
            exit_code=1,
        )

    def _address(self) -> str | None:
        for line in self._log.read_text(errors="replace").splitlines(keepends=True):
            if line.startswith(_SAYS) and line.endswith("\n"):
                return line.removeprefix(_SAYS).strip()
        return None


def _is_healthy(address: str) -> bool:
    # Not urllib: it would ask a proxy that the environment names.
    with closing(http.client.HTTPConnection(address, timeout=HEALTH_TIMEOUT_S)) as connection:
        try:
            connection.request("GET", _HEALTH)
            return connection.getresponse().status == http.HTTPStatus.OK
        except OSError:
            return False
