"""A broker with topics for tests in one process, and what a process has once, as new for each test."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from broker import EmbeddedBroker
from local.topics import Topics
from pipeline.process import registry, stop
from pipeline.process.stop import StopSignal


@dataclass
class Pubsub:
    """An embedded broker, named by PUBSUB_EMULATOR_HOST, with one set of topics."""

    broker: EmbeddedBroker
    topics: Topics


@pytest.fixture
def pubsub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pubsub]:
    with EmbeddedBroker() as broker:
        monkeypatch.setenv("PUBSUB_EMULATOR_HOST", broker.address)
        topics = Topics.fresh("test")
        topics.create()
        yield Pubsub(broker, topics)


@pytest.fixture(autouse=True)
def fresh_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Give the test an empty registry and a stop signal of its own."""
    own = StopSignal()
    monkeypatch.setattr(stop, "_STOP", own)
    monkeypatch.setattr(registry, "_closed", False)
    yield
    own.close()
    registry.close_all()
