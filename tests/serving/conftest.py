from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.serving.container import Serving
from tests.serving.harness import Harness
from tests.waiting import wait_until

Start = Callable[..., Serving]


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Yield a function that starts a container; what still runs at the end of the module is ended."""
    started: list[Serving] = []
    folder = tmp_path_factory.mktemp("serving")

    def start_serving(storage: Path, *flags: str, **environment: str) -> Serving:
        environment = {"AIP_STORAGE_URI": str(storage), **environment}
        started.append(Serving(folder / f"{len(started)}.log", flags, environment))
        return started[-1]

    yield start_serving
    for serving in started:
        serving.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the puppet of `server`."""
    return tmp_path_factory.mktemp("puppet")


@pytest.fixture(scope="module")
def shared_server(folder: Path) -> Iterator[Harness]:
    harness = Harness(folder)
    yield harness
    (folder / "gate").touch()
    harness.close()


@pytest.fixture
def server(shared_server: Harness) -> Harness:
    """Return an HTTP server that all tests of a module share, without a connection."""
    wait_until(lambda: shared_server.server.connections == 0)
    return shared_server
