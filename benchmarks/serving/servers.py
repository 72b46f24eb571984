"""The servers that are compared, each set up as somebody would who knows it, and started on free ports."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks.harness.jobs import ROOT
from benchmarks.serving.bodies import (
    BINARY,
    INPUT,
    INSTANCES_TO_ROWS,
    JSON,
    KSERVE_BINARY,
    KSERVE_JSON,
    OCTETS,
    OUTPUT,
    PREDICT,
    RAW,
    Form,
)
from benchmarks.serving.checking import answers_right
from benchmarks.serving.environments import InstallError, environment, python
from benchmarks.serving.peers import forward
from benchmarks.serving.served_models import ServedModel
from export.model_config import Tensor
from local.children import Child, ChildError
from local.container import Container
from local.triton import installation
from local.triton.installation import TritonError
from local.triton.repository import add_model
from local.triton.server import Triton

READY_WITHIN_S = 120.0
_POLL_INTERVAL_S = 0.2
_MODEL = "model"

OURS, TRITON = "ours", "Triton"
MOSEC, MOSEC_JSON, LITSERVE, BENTOML = "mosec", "mosec-json", "LitServe", "BentoML"


class LeftOutError(Exception):
    """A server does not run here; the message says why."""


@dataclass(frozen=True)
class Setup:
    """What a server is started with.

    Attributes:
        model: Served.
        body: Of `BODIES`.
        workers: Processes that compute.
        folder: An empty one, for logs and files.
    """

    model: ServedModel
    body: str
    workers: int
    folder: Path


Start = Callable[[Setup], tuple[Child, str]]
"""Returns the server's process and the URL of its predictions; raises LeftOutError, TritonError or
InstallError."""


@dataclass(frozen=True)
class Server:
    """A server.

    Attributes:
        forms: Of its bodies, by `BODIES`; without one, it is left out there.
        start: Starts it.
        how: How it is set up, for the report.
    """

    forms: Mapping[str, Form]
    start: Start
    how: str


@dataclass(frozen=True)
class Running:
    """A server that has answered rightly."""

    title: str
    url: str
    form: Form
    pid: int


@contextmanager
def running(title: str, setup: Setup) -> Iterator[Running]:
    """Start a server, yield it once it answers rightly, and stop it.

    Raises:
        LeftOutError: It cannot be installed, does not start, or has not answered rightly within 120 s.
    """
    server = SERVERS[title]
    try:
        child, url = server.start(setup)
    except (TritonError, InstallError) as error:
        raise LeftOutError(str(error)) from error
    try:
        form = server.forms[setup.body]
        deadline = time.monotonic() + READY_WITHIN_S
        while not answers_right(url, form, setup.model):
            if child.failure is not None:
                raise LeftOutError(str(child.failure))
            if time.monotonic() > deadline:
                raise LeftOutError(f"no right answer within {READY_WITHIN_S:g} s")
            time.sleep(_POLL_INTERVAL_S)
        yield Running(title, url, form, child.pid)
    finally:
        child.stop()
        with suppress(ProcessLookupError):  # what it started and has left behind
            os.killpg(child.pid, signal.SIGKILL)


def _ours(setup: Setup) -> tuple[Child, str]:
    exported = setup.model.exported
    flags = [f"--model_file={exported.name}", f"--workers={setup.workers}"]
    container = Container(str(exported.parent), flags, setup.folder / "serving.log", on_failure=_ignore)
    try:
        return container, container.predict_url(threading.Event())
    except ChildError as error:
        container.stop()
        raise LeftOutError(str(error)) from error


def _triton(setup: Setup) -> tuple[Child, str]:
    installation.install()
    repository = setup.folder / "repository"
    answer = setup.model.answers.shape[1:]
    add_model(
        repository,
        _MODEL,
        Path(forward.__file__).with_name("triton_model.py"),
        [Tensor(INPUT, "FP32", (setup.model.width,))],
        [Tensor(OUTPUT, "FP32", answer or (1,))],
        max_batch_size=forward.MAX_BATCH_SIZE,
        instances=setup.workers,
        files={"model.pt": setup.model.script},
    )
    triton = Triton(repository, setup.folder / "triton.log", on_failure=_ignore)
    return triton, triton.infer_url(_MODEL)


def _mosec(coding: str, binary_coding: str) -> Start:
    def start(setup: Setup) -> tuple[Child, str]:
        port = _free_port()
        arguments = [
            *("-m", "benchmarks.serving.peers.mosec_server"),
            *("--address", "127.0.0.1", "--port", str(port)),
            *("--path", str(setup.folder / "sockets")),
        ]
        settings = {forward.CODING_VARIABLE: binary_coding if setup.body == BINARY else coding}
        child = _peer("mosec", ("mosec==0.9.8",), arguments, settings, setup)
        return child, f"http://127.0.0.1:{port}/inference"

    return start


def _litserve(setup: Setup) -> tuple[Child, str]:
    port = _free_port()
    arguments = ["-m", "benchmarks.serving.peers.litserve_server", str(port)]
    child = _peer("LitServe", ("litserve==0.2.19",), arguments, {}, setup)
    return child, f"http://127.0.0.1:{port}/predict"


def _bentoml(setup: Setup) -> tuple[Child, str]:
    port = _free_port()
    arguments = [
        *("-m", "bentoml", "serve", "benchmarks.serving.peers.bentoml_service:Model"),
        *("--host", "127.0.0.1", "--port", str(port)),
    ]
    settings = {"BENTOML_DO_NOT_TRACK": "true", "BENTOML_HOME": str(setup.folder / "home")}
    child = _peer("BentoML", ("bentoml==1.4.40",), arguments, settings, setup)
    return child, f"http://127.0.0.1:{port}/predict"


def _peer(
    name: str, packages: tuple[str, ...], arguments: list[str], settings: Mapping[str, str], setup: Setup
) -> Child:
    """Start a Python program in the environment of a peer."""
    folder = environment(packages)
    log = setup.folder / "peer.log"
    variables = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        forward.MODEL_VARIABLE: str(setup.model.script),
        forward.WORKERS_VARIABLE: str(setup.workers),
        **settings,
    }
    with log.open("w") as output:
        process = subprocess.Popen(
            [python(folder), "-P", *arguments],
            env=variables,
            cwd=setup.folder,
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
    return Child(name, process, log, on_failure=_ignore)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
    return port


def _ignore(reason: str) -> None:
    """Take note of a server that ended by itself: whoever waits for it sees `failure`."""


_UP_TO = f"batches up to {forward.MAX_BATCH_SIZE}"
_WITHIN = f"{_UP_TO} within {1000 * forward.WAIT_S:g} ms"

SERVERS: Mapping[str, Server] = {
    OURS: Server({JSON: PREDICT, BINARY: RAW}, _ours, "python -m serving, its defaults"),
    TRITON: Server(
        {JSON: KSERVE_JSON, BINARY: KSERVE_BINARY},
        _triton,
        f"2.51, Python backend, dynamic_batching {{ }}: {_UP_TO}, no delay",
    ),
    MOSEC: Server({JSON: PREDICT, BINARY: OCTETS}, _mosec("orjson", "octets"), f"orjson or bytes, {_WITHIN}"),
    MOSEC_JSON: Server({JSON: PREDICT}, _mosec("json", "octets"), f"Python's json, {_WITHIN}"),
    LITSERVE: Server({JSON: PREDICT}, _litserve, _WITHIN),
    BENTOML: Server({JSON: INSTANCES_TO_ROWS}, _bentoml, f"{_UP_TO}, by its adaptive rule"),
}
