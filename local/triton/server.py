"""Triton as a process: KServe's protocol on loopback and, as on Vertex AI, that platform's front end."""

from __future__ import annotations

import http.client
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path

from loadtest.driver.errors import RunError
from loadtest.run_folder import new_file
from local.children import Child, ChildError, OnFailure, tail
from local.triton import installation
from local.triton.installation import TritonError
from pipeline.process.user_modules import module_command

READY_WITHIN_S = 120.0
POLL_INTERVAL_S = 0.05
HEALTH_TIMEOUT_S = 5.0
# It waits so long for idle connections to be closed. Its own 30 s are longer than `children.STOP_WITHIN_S`.
_EXIT_TIMEOUT_S = 10

# Ports in the namespace are its own.
_HTTP_PORT, _VERTEX_PORT = 8000, 8080
_NAMESPACE = ("unshare", "--user", "--map-root-user", "--net")
# As Vertex AI sets them:
# https://cloud.google.com/vertex-ai/docs/predictions/custom-container-requirements#aip-variables
_VERTEX = {
    "AIP_MODE": "PREDICTION",
    "AIP_HTTP_PORT": str(_VERTEX_PORT),
    "AIP_HEALTH_ROUTE": "/health",
    "AIP_PREDICT_ROUTE": "/predict",
}


def why_no_vertex() -> str:
    """Return why Vertex AI's front end cannot be fenced off here; empty where it can."""
    if shutil.which(_NAMESPACE[0]) is None:
        return "there is no unshare (util-linux) to make a network namespace with"
    ended = subprocess.run([*_NAMESPACE, "true"], capture_output=True, text=True, check=False)
    return f"no network namespace can be made here: {ended.stderr.strip()}" if ended.returncode else ""


class Triton(Child):
    """A tritonserver on free ports of 127.0.0.1, in a session of its own.

    Attributes:
        http: HOST:PORT of KServe's protocol.
        vertex: HOST:PORT of Vertex AI's front end (`/predict`, `/health`); None where it was not asked for.
    """

    def __init__(
        self,
        repository: Path,
        log: Path,
        *,
        vertex: bool = False,
        flags: Sequence[str] = (),
        on_failure: OnFailure,
    ) -> None:
        """Start it.

        Args:
            repository: Folder of the models.
            log: Receives what it prints, emptied at the start.
            vertex: Whether it has Vertex AI's front end too. It then runs in a network namespace, behind a
                relay.
            flags: Others of tritonserver.
            on_failure: Called once `failure` is set.

        Raises:
            TritonError: It is not installed, or Vertex AI's front end cannot be fenced off here.
        """
        if not installation.is_installed():
            raise TritonError(f"Triton is not installed here: {installation.COMMAND}")
        if vertex and (reason := why_no_vertex()):
            raise TritonError(reason)
        command = [
            *(str(installation.BINARY), f"--model-repository={repository}"),
            *(f"--backend-directory={installation.BACKENDS}", "--http-address=127.0.0.1"),
            *("--allow-http=true", "--allow-grpc=false", "--allow-metrics=false"),
            f"--exit-timeout-secs={_EXIT_TIMEOUT_S}",
            *flags,
        ]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("AIP_")}
        environment |= installation.environment()
        with ExitStack() as sockets:
            outside = [sockets.enter_context(_listening()) for _ in range(1 + vertex)]
            addresses = [f"127.0.0.1:{each.getsockname()[1]}" for each in outside]
            if vertex:
                environment |= _VERTEX
                inside = (_HTTP_PORT, _VERTEX_PORT)
                pairs = [f"{each.fileno()}:{port}" for each, port in zip(outside, inside, strict=True)]
                fence = [*_NAMESPACE, *module_command("local.triton.fenced", *pairs), "--"]
                command = [*fence, *command, f"--http-port={_HTTP_PORT}"]
            else:
                port = outside[0].getsockname()[1]
                outside.pop().close()  # it is Triton's to bind
                command.append(f"--http-port={port}")
            with new_file(log) as output:
                process = subprocess.Popen(
                    command,
                    env=environment,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    text=True,
                    start_new_session=True,
                    pass_fds=[each.fileno() for each in outside],
                )
        self.http = addresses[0]
        self.vertex = addresses[1] if vertex else None
        super().__init__("Triton", process, log, on_failure=on_failure)

    def await_ready(self, stop: threading.Event) -> None:
        """Wait until all models are loaded, for at most 120 s.

        Raises:
            ChildError: It ended, or was not ready in time.
            RunError: `stop` was set meanwhile.
        """
        deadline = time.monotonic() + READY_WITHIN_S
        while time.monotonic() < deadline:
            # The front end's port opens last.
            if _is_ready(self.http, "/v2/health/ready") and (
                self.vertex is None or _is_ready(self.vertex, _VERTEX["AIP_HEALTH_ROUTE"])
            ):
                return
            if self.failure:
                raise self.failure
            if stop.wait(POLL_INTERVAL_S):
                raise self.failure or RunError("interrupted while Triton was starting")
        raise ChildError(
            f"Triton is not ready after {READY_WITHIN_S:g} s; the end of {self._log}:\n{tail(self._log)}",
            exit_code=1,
        )

    def infer_url(self, model: str) -> str:
        """Return the URL of a model's predictions by KServe's protocol."""
        return f"http://{self.http}/v2/models/{model}/infer"


def _listening() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0), backlog=1024)


def _is_ready(address: str, path: str) -> bool:
    # Not urllib: it would ask a proxy that the environment names.
    with closing(http.client.HTTPConnection(address, timeout=HEALTH_TIMEOUT_S)) as connection:
        try:
            connection.request("GET", path)
            return connection.getresponse().status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False
