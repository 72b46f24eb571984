from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.serving.container import Serving

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
