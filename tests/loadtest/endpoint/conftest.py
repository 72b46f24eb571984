"""Endpoints of known truth, and what calls them."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np
import orjson
import pytest

from loadtest.clock import epoch_clock
from loadtest.endpoint.bodies import Body, make_bodies
from loadtest.endpoint.caller import Caller, Target, new_loop
from loadtest.raw_log import Floats
from pipeline.inference.endpoint.json_codec import JsonCodec
from pipeline.options.address import Address
from tests.loadtest.endpoint.server import KnownEndpoint
from tests.waiting import LIMIT_S

T = TypeVar("T")


@pytest.fixture
def endpoint() -> Iterator[KnownEndpoint]:
    with KnownEndpoint() as server:
        yield server


@pytest.fixture
def records(tmp_path: Path) -> Path:
    path = tmp_path / "records.jsonl"
    path.write_bytes(b"".join(orjson.dumps({"features": [float(i), 1.0]}) + b"\n" for i in range(5)))
    return path


@pytest.fixture
def nobody() -> Iterator[str]:
    """Return a URL at which nothing listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}/predict"


def bodies(rows: int = 1) -> list[Body]:
    return make_bodies([np.full(2, i, np.float32) for i in range(5)], JsonCodec(), rows)


def call(url: str, work: Callable[[Caller], Awaitable[T]], timeout_s: float = LIMIT_S) -> T:
    """Run `work` with a caller of a URL, and return what it returns."""

    async def run() -> T:
        async with Caller(
            Target(Address(url, needs_token=False), "predict", timeout_s), epoch_clock()
        ) as caller:
            return await work(caller)

    with asyncio.Runner(loop_factory=new_loop) as runner:
        return runner.run(run())


def evenly(count: int, gap_s: float) -> Floats:
    return np.arange(count, dtype=np.float64) * gap_s
