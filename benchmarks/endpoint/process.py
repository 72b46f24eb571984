"""`benchmarks.endpoint.server` as a process of its own, so that its processor time is not the client's."""

from __future__ import annotations

import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass

import orjson

from benchmarks.endpoint.server import LISTENING, Counts, ServerConfig

_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class EndpointProcess:
    """A running server.

    Attributes:
        http: HOST:PORT of the HTTP protocols.
        grpc: HOST:PORT of the gRPC protocol.
    """

    http: str
    grpc: str
    pid: int

    def configure(self, config: ServerConfig) -> None:
        """Have the server serve so from now on, with new counts. No call may be in flight."""
        self._request("PUT", "/config", orjson.dumps(asdict(config)))

    def counts(self) -> Counts:
        """Return the counts of the calls since the last `configure`."""
        return Counts(**orjson.loads(self._request("GET", "/counts")))

    def _request(self, method: str, path: str, body: bytes | None = None) -> bytes:
        request = urllib.request.Request(f"http://{self.http}{path}", body, method=method)
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as response:
            return response.read()


@contextmanager
def endpoint_server() -> Iterator[EndpointProcess]:
    """Start the server on free ports, and stop it at the end.

    Raises:
        RuntimeError: It does not start.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.endpoint.server"],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C is this process's to handle
    )
    assert process.stdout is not None  # for mypy: it is a pipe
    try:
        line = process.stdout.readline()
        if not line.startswith(LISTENING):
            raise RuntimeError(f"the endpoint ended at once with exit code {process.wait()}")
        http, grpc = line.removeprefix(LISTENING).split()
        yield EndpointProcess(http, grpc, process.pid)
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()
