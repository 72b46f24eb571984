"""A turn of the endpoint container: good calls from here, hostile ones from a process beside."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import nullcontext
from pathlib import Path

import aiohttp
import orjson

from benchmarks.harness.models import MODEL
from benchmarks.harness.processes import children, peak_resident_mib
from benchmarks.hostile.attacker import Attack, attacking
from benchmarks.hostile.good import Good
from benchmarks.hostile.measures import Turn
from local.container import Container

CALL_WITHIN_S = 30.0
CONNECTIONS = 16
WARMUP_S = 3.0


def take_turn(good: Good, rate: float, seconds: float, every_s: float | None, folder: Path) -> Turn:
    """Run the container for some seconds at `rate` good calls a second, of one instance each.

    Args:
        good: What is right.
        rate: In calls a second.
        seconds: After a warm-up of 3 s.
        every_s: Between two hostile calls; None: there are none.
        folder: An empty one, for the container's log.
    """
    ended = threading.Event()
    flags = [f"--model_file={MODEL.name}"]
    container = Container(
        str(MODEL.parent), flags, folder / "serving.log", on_failure=lambda reason: ended.set()
    )
    try:
        url = container.predict_url(ended)
        workers = children(container.pid)
        address = url.removeprefix("http://").removesuffix("/predict")
        with nullcontext(Attack()) if every_s is None else attacking(every_s, "container", address) as attack:
            latencies, sent = asyncio.run(_send(good, rate, seconds, url))
        now = children(container.pid)
        peak = sum(peak_resident_mib(pid) for pid in (container.pid, *now))
    finally:
        container.stop()
    return Turn(
        sent=sent,
        answered=len(latencies),
        latencies_ms=[latency for number, latency in latencies if number >= rate * WARMUP_S],
        peak_mib=peak,
        restarts=len(workers - now) + ended.is_set(),
        outcomes=attack.outcomes,
    )


async def _send(good: Good, rate: float, seconds: float, url: str) -> tuple[list[tuple[int, float]], int]:
    """Return number and latency in ms of each call with the right answer, and how many were made.

    A call leaves when it is due, whatever became of those before it.
    """
    latencies: list[tuple[int, float]] = []

    async def call(number: int, due: float) -> None:
        headers = {"Content-Type": "application/json"}
        async with session.post(url, data=good.body(number), headers=headers) as response:
            answer = orjson.loads(await response.read())
        (prediction,) = answer.get("predictions", [None])
        if good.is_right(number, prediction):
            latencies.append((number, 1000 * (time.monotonic() - due)))

    connector = aiohttp.TCPConnector(limit=CONNECTIONS)
    timeout = aiohttp.ClientTimeout(total=CALL_WITHIN_S)
    total = round(rate * (WARMUP_S + seconds))
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        start = time.monotonic()
        calls = []
        for number in range(total):
            due = start + number / rate
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            calls.append(asyncio.create_task(call(number, due)))
        await asyncio.gather(*calls, return_exceptions=True)
    return latencies, total
