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
from benchmarks.hostile.measures import Load, Turn
from local.container import Container

CALL_WITHIN_S = 30.0
CONNECTIONS = 16


def beside_calls(good: Good, load: Load, every_s: float | None, folder: Path) -> Turn:
    """Run the container under load, and make a hostile call every `every_s` seconds, if at all.

    Args:
        good: What is right.
        load: Of good calls, of one instance each.
        every_s: None: there are none.
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
            attack.begin()
            latencies, sent = asyncio.run(_send(good, load, url))
            attack.end()
        now = children(container.pid)
        peak = sum(peak_resident_mib(pid) for pid in (container.pid, *now))
    finally:
        container.stop()
    return Turn(
        sent=sent,
        answered=len(latencies),
        latencies_ms=[latency for number, latency in latencies if number >= load.rate * load.warmup_s],
        peak_mib=peak,
        restarts=len(workers - now) + ended.is_set(),
        outcomes=attack.outcomes,
    )


async def _send(good: Good, load: Load, url: str) -> tuple[list[tuple[int, float]], int]:
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
    total = round(load.rate * (load.warmup_s + load.seconds))
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        start = time.monotonic()
        calls = []
        for number in range(total):
            due = start + number / load.rate
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            calls.append(asyncio.create_task(call(number, due)))
        await asyncio.gather(*calls, return_exceptions=True)
    return latencies, total
