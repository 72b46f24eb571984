"""`benchmarks.endpoint.server` as a process of its own: the client's processor time is then its alone."""

import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass

import orjson

from benchmarks.endpoint.server import SAYS, Counts, Settings

_WITHIN_S = 30.0


@dataclass(frozen=True)
class EndpointProcess:
    """A running server; HOST:PORT of each protocol."""

    http: str
    grpc: str
    pid: int

    def set(self, settings: Settings) -> None:
        """From now on serves so, with new counts. No call may be in flight."""
        self._ask("PUT", "/settings", orjson.dumps(asdict(settings)))

    def counts(self) -> Counts:
        """Of the calls since the settings were set."""
        return Counts(**orjson.loads(self._ask("GET", "/counts")))

    def _ask(self, method: str, path: str, body: bytes | None = None) -> bytes:
        request = urllib.request.Request(f"http://{self.http}{path}", body, method=method)
        with urllib.request.urlopen(request, timeout=_WITHIN_S) as response:
            return response.read()


@contextmanager
def endpoint_server() -> Iterator[EndpointProcess]:
    """The server on free ports, stopped at the end. Raises RuntimeError if it does not start."""
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.endpoint.server"],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C is this process's to handle
    )
    assert process.stdout is not None  # for mypy: it is a pipe
    try:
        line = process.stdout.readline()
        if not line.startswith(SAYS):
            raise RuntimeError(f"the endpoint ended at once with exit code {process.wait()}")
        http, grpc = line.removeprefix(SAYS).split()
        yield EndpointProcess(http, grpc, process.pid)
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()
