from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from pipeline.inference.endpoint.limit import ConcurrencyLimit


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(test)


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def test_never_more_than_the_limit_in_flight() -> None:
    async def test() -> None:
        limit = ConcurrencyLimit(3)
        most = 0

        async def call() -> None:
            nonlocal most
            await limit.acquire()
            most = max(most, limit.in_flight)
            await turns()
            limit.release()

        await asyncio.gather(*(call() for _ in range(20)))
        assert (most, limit.in_flight) == (3, 0)

    run(test())


def test_first_come_first_served() -> None:
    async def test() -> None:
        limit = ConcurrencyLimit(1)
        await limit.acquire()
        served: list[int] = []

        async def call(number: int) -> None:
            await limit.acquire()
            served.append(number)
            limit.release()

        calls = [asyncio.create_task(call(number)) for number in range(4)]
        await turns()
        limit.release()
        await asyncio.gather(*calls)
        assert served == [0, 1, 2, 3]

    run(test())


def test_halved_once_for_calls_in_flight_together() -> None:
    async def test() -> None:
        limit = ConcurrencyLimit(32)
        rounds = [await limit.acquire() for _ in range(32)]
        for round_ in rounds:
            limit.congested(round_)
        assert limit.limit == 16
        for _ in rounds:
            limit.release()
        limit.congested(await limit.acquire())
        assert limit.limit == 8
        assert limit.lowered

    run(test())


def test_never_below_one() -> None:
    async def test() -> None:
        limit = ConcurrencyLimit(2)
        for _ in range(5):
            limit.congested(await limit.acquire())
            limit.release()
        assert limit.limit == 1
        await limit.acquire()
        assert not limit.free

    run(test())


def test_grows_back_by_one_for_each_limits_worth_of_successes() -> None:
    async def test() -> None:
        limit = ConcurrencyLimit(4)
        limit.congested(await limit.acquire())
        grown = []
        for _ in range(2 + 3 + 4):
            limit.succeeded()
            grown.append(limit.limit)
        assert grown == [2, 3, 3, 3, 4, 4, 4, 4, 4]
        assert not limit.lowered

    run(test())


@pytest.mark.parametrize("given", [False, True], ids=["while it waits", "just when it has its place"])
def test_a_cancelled_call_leaves_no_place_taken(given: bool) -> None:
    async def test() -> None:
        limit = ConcurrencyLimit(1)
        await limit.acquire()
        waiting = asyncio.create_task(limit.acquire())
        await turns()
        if given:
            limit.release()
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        if not given:
            limit.release()
        assert limit.in_flight == 0
        assert limit.free

    run(test())
