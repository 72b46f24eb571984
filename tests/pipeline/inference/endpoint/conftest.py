from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.pipeline.inference.endpoint.server import ScriptedEndpoint


@pytest.fixture
def endpoint() -> Iterator[ScriptedEndpoint]:
    with ScriptedEndpoint() as server:
        yield server
