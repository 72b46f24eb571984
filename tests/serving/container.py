"""The container as a process, and HTTP calls to it."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest
import torch

from tests.waiting import LIMIT_S, WARNINGS_ARE_ERRORS, wait_until

ROOT = Path(__file__).parents[2]
JSON, FLOAT32 = "application/json", "application/x-float32"
SAYS = "serving listening on "


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]  # names in lower case
    body: bytes

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)

    @property
    def message(self) -> str:
        """Of an error, which must have Google's shape."""
        error = self.json["error"]
        assert error["code"] == self.status
        assert error["status"].isupper()
        return error["message"]


def ask(
    connection: http.client.HTTPConnection, method: str, path: str, body: bytes = b"", content_type: str = ""
) -> Answer:
    """One exchange on a connection, which stays open if the server lets it."""
    connection.request(method, path, body or None, {"Content-Type": content_type} if content_type else {})
    answer = connection.getresponse()
    headers = {name.lower(): value for name, value in answer.getheaders()}
    return Answer(answer.status, headers, answer.read())


def call(
    address: str, method: str, path: str, body: bytes = b"", content_type: str = "", timeout: float = LIMIT_S
) -> Answer:
    """One exchange on a connection of its own."""
    connection = http.client.HTTPConnection(address, timeout=timeout)
    try:
        return ask(connection, method, path, body, content_type)
    finally:
        hang_up(connection)


def hang_up(connection: http.client.HTTPConnection) -> None:
    """Close a connection, and wait until the server has let go of it: until then it still counts."""
    if connection.sock is not None:
        with suppress(OSError):
            connection.sock.shutdown(socket.SHUT_WR)
            while connection.sock.recv(4096):
                pass
    connection.close()


def instances(*rows: Any) -> bytes:
    return orjson.dumps({"instances": list(rows)})


class Serving:
    """`python -m serving` as a user starts it, on a free port."""

    def __init__(self, log: Path, flags: tuple[str, ...], environment: dict[str, str]) -> None:
        self._log = log
        with log.open("w") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "serving", "--host=127.0.0.1", *flags],
                cwd=ROOT,
                env=os.environ | WARNINGS_ARE_ERRORS | {"AIP_HTTP_PORT": "0"} | environment,
                stdout=subprocess.PIPE,
                stderr=file,
                text=True,
            )

    def listening(self) -> Serving:
        """Read the line that names the address."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.startswith(SAYS), self.log
        self.address = line.removeprefix(SAYS).strip()
        return self

    def ready(self) -> Serving:
        self.listening()
        wait_until(lambda: self.health() == 200 or self.process.poll() is not None)
        assert self.process.poll() is None, self.log
        return self

    def health(self) -> int:
        return call(self.address, "GET", "/health").status

    def predict(self, *rows: Any) -> Answer:
        return call(self.address, "POST", "/predict", instances(*rows), JSON)

    def wait(self) -> int:
        """Return the exit code; the container promises to end far sooner than is waited here."""
        try:
            return self.process.wait(LIMIT_S)
        except subprocess.TimeoutExpired:
            pytest.fail(f"the container did not end; its log:\n{self.log}")

    def close(self) -> None:
        """End it at once; its workers end by themselves when it is gone."""
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()
        assert "ResourceWarning" not in self.log

    @property
    def log(self) -> str:
        return self._log.read_text()


def puppet(folder: Path) -> tuple[Path, str, str, str]:
    """Arguments of `start` for a model that obeys (tests/serving/models.py), with its files in `folder`."""
    file = folder / "puppet.pt"
    torch.save({}, file)
    params = orjson.dumps({"folder": str(folder)}).decode()
    return (
        file,
        "--model_class=tests.serving.models:Puppet",
        f"--model_params={params}",
        "--input_shape=1",
    )


def is_alive(pid: int) -> bool:
    """Whether it runs: a process that has ended but that nobody has waited for is dead, too."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().rpartition(") ")[2][0] != "Z"


def loading(folder: Path, count: int) -> list[int]:
    """Return the processes whose puppet waits to be loaded, as soon as there are so many."""
    wait_until(lambda: len(list(folder.glob("loading-*"))) == count)
    return [int(path.name.removeprefix("loading-")) for path in folder.glob("loading-*")]
