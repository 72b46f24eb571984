"""A broker with topics for tests in one process, and a registry that each test finds empty."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from broker import EmbeddedBroker
from local.topics import Topics
from pipeline.process import registry


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
def empty_registry() -> Iterator[None]:
    yield
    registry.close_all()
