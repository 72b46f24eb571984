"""Cloud Monitoring on loopback, its client with a token, and time that passes by waiting alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from google.auth.credentials import Credentials

from loadtest.metrics.monitoring_api import MonitoringApi
from pipeline.inference.endpoint.token import TokenSource
from tests.loadtest.metrics.monitoring_server import T0, MonitoringServer, serve


class ListedCredentials(Credentials):
    """Credentials whose tokens are those of the list, one for each refresh; the last stays."""

    def __init__(self, tokens: list[str]) -> None:
        super().__init__()
        self._tokens = tokens

    def refresh(self, request: Any) -> None:
        self.token = self._tokens.pop(0) if len(self._tokens) > 1 else self._tokens[0]


class FakeTime:
    """A clock that only `wait` moves on; each wait is kept."""

    def __init__(self) -> None:
        self.now = T0
        self.waits: list[float] = []
        self.server: MonitoringServer | None = None

    def clock(self) -> float:
        return self.now

    def wait(self, seconds: float) -> bool:
        self.waits.append(seconds)
        self.now += seconds
        if self.server is not None:
            self.server.now = self.now
        return False


@pytest.fixture
def server() -> Iterator[MonitoringServer]:
    with serve() as running:
        yield running


@pytest.fixture
def time() -> FakeTime:
    return FakeTime()


@pytest.fixture
def api(server: MonitoringServer, time: FakeTime) -> Iterator[MonitoringApi]:
    tokens = TokenSource(ListedCredentials(["good-token"]), request=object())
    client = MonitoringApi(tokens, server.url, wait=time.wait)
    yield client
    client.close()
    tokens.close()
