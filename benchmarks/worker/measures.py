"""What `benchmarks.worker` measures: processor time and throughput of one SDK process, bundle by bundle."""

from __future__ import annotations

import math
import os
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import orjson

from benchmarks.harness import cli
from benchmarks.harness.bundles import Bundle
from benchmarks.harness.fused_stage import FusedStage, encode
from benchmarks.harness.models import WrongAnswerError
from benchmarks.harness.sdk_harness import SdkHarness, run_bundles, sdk_harnesses
from benchmarks.worker import sides as worker_sides
from benchmarks.worker.sides import HARNESS, LARGEST_BUNDLE, RESULTS, TITLES, Traffic
from pipeline.pubsub.protos import Proto, PubsubMessage

_CORES = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
_CHECKED = 100  # messages
_WARM_UP_MESSAGES = 2000
_WARM_UP_BUNDLES = 24  # at least two for each of 12 threads


@dataclass(frozen=True)
class Turn:
    """What one side did in one round of a cell.

    Attributes:
        bundles: That were done.
        cpu_us: Processor time of the SDK process in microseconds a message.
        messages_per_s: That were done.
    """

    bundles: int
    cpu_us: float
    messages_per_s: float


@dataclass(frozen=True)
class Row:
    """One side in one cell.

    Attributes:
        workload: The traffic's name.
        side: One of SIDES.
        bundle: Messages of a bundle.
        threads: Bundles in flight at once.
        turns: Round by round.
    """

    workload: str
    side: str
    bundle: int
    threads: int
    turns: tuple[Turn, ...]

    @property
    def cpu_us(self) -> float:
        """The median of the rounds: processor time in microseconds a message."""
        return statistics.median(turn.cpu_us for turn in self.turns)

    @property
    def messages_per_s(self) -> float:
        """The median of the rounds."""
        return statistics.median(turn.messages_per_s for turn in self.turns)


@dataclass(frozen=True)
class Cells:
    """What is measured of each workload.

    Attributes:
        sides: Some of SIDES.
        bundles: Messages of a bundle.
        threads: Bundles in flight at once.
        rounds: In which the sides take turns.
        turn_s: How long a turn begins new bundles.
    """

    sides: Sequence[str]
    bundles: Sequence[int]
    threads: Sequence[int]
    rounds: int
    turn_s: float


def measure(name: str, traffic: Traffic, cells: Cells, folder: Path) -> list[Row]:
    """Return all rows of one workload. All its sides run at once, each in one process, and take turns.

    Raises:
        WrongAnswerError: A side did not answer as the model does, or lost a message.
    """
    messages = traffic.messages(LARGEST_BUNDLE)
    rows = []
    with ExitStack() as stack:
        harnesses = {}
        for side in cells.sides:
            if not traffic.has(side):
                continue
            job = worker_sides.stage(side, traffic, folder / f"{name}-{side}")
            (harness,) = stack.enter_context(
                sdk_harnesses(FusedStage.of(job.proto), job.worker_options)
            ).running
            _keep_to_a_core(harness)
            harnesses[side] = harness
        for side, harness in harnesses.items():
            cli.progress(f"{traffic.title}: answers of {TITLES[side]}")
            check(side, harness, traffic, messages[:_CHECKED])
        for threads in cells.threads:
            for size in cells.bundles:
                cli.progress(f"{traffic.title}: bundles of {size}, {threads} at once")
                bundle = encode((each.SerializeToString() for each in messages[:size]), time.time())
                turns = take_turns(harnesses, bundle, size, threads, cells)
                rows += [Row(name, side, size, threads, found) for side, found in turns.items()]
    return rows


def check(side: str, harness: SdkHarness, traffic: Traffic, messages: list[Proto]) -> None:
    """Send a bundle, and compare its answers with the model's.

    Raises:
        WrongAnswerError: There is not one answer for each request, or not the model's.
    """
    serialized = [message.SerializeToString() for message in messages]
    outputs = harness.submit(encode(serialized, time.time())).result().outputs()
    if outputs.keys() != {RESULTS} or len(outputs[RESULTS]) != len(messages):
        raise WrongAnswerError(f"{TITLES[side]}: not one result for each request")
    if side == HARNESS:
        if outputs[RESULTS] != serialized:
            raise WrongAnswerError(f"{TITLES[side]}: other bytes than those sent")
        return
    results = [PubsubMessage.FromString(output) for output in outputs[RESULTS]]
    if [each.attributes["request_id"] for each in results] != [
        each.attributes["request_id"] for each in messages
    ]:
        raise WrongAnswerError(f"{TITLES[side]}: not one result for each request, in their order")
    predictions = np.array([orjson.loads(each.data)["prediction"] for each in results])
    if not np.allclose(predictions, traffic.predictions(messages), rtol=1e-4, atol=1e-5):
        raise WrongAnswerError(f"{TITLES[side]}: other predictions than the model's")


def take_turns(
    harnesses: Mapping[str, SdkHarness], bundle: Sequence[bytes], size: int, threads: int, cells: Cells
) -> dict[str, tuple[Turn, ...]]:
    """Have the sides take turns with one bundle, over and over, and return each one's turns.

    Args:
        harnesses: By side.
        bundle: Encoded.
        size: Messages of the bundle.
        threads: Bundles in flight at once.
        cells: Rounds and length of a turn.
    """
    turns: dict[str, list[Turn]] = {side: [] for side in harnesses}
    warm_up = [bundle] * max(_WARM_UP_BUNDLES, math.ceil(_WARM_UP_MESSAGES / size / 10))
    for harness in harnesses.values():
        run_bundles([harness], warm_up, threads)
    for _ in range(cells.rounds):
        for side, harness in harnesses.items():
            begun, used = time.perf_counter(), harness.cpu_seconds()
            futures = run_bundles([harness], _repeat(bundle, begun + cells.turn_s), threads)
            used, lasted = harness.cpu_seconds() - used, time.perf_counter() - begun
            _count(side, [future.result() for future in futures], size)
            messages = len(futures) * size
            turns[side].append(Turn(len(futures), used / messages * 1e6, messages / lasted))
    return {side: tuple(found) for side, found in turns.items()}


@contextmanager
def beside_the_harness() -> Iterator[None]:
    """Have this process off the core of the SDK processes, where there is another."""
    os.sched_setaffinity(0, set(_CORES[:-1] or _CORES))
    try:
        yield
    finally:
        os.sched_setaffinity(0, set(_CORES))


def _keep_to_a_core(harness: SdkHarness) -> None:
    """Have a process that has just begun on one core, its share as one of a Dataflow worker's SDK processes.

    torch, which is not imported yet, then has one thread. With two on two busy cores, stock's calls take
    milliseconds whatever their size, and its batches stay at one or two: 4 ms of processor time a message
    instead of 0.1. That is a setting, and not what is compared here.
    """
    os.sched_setaffinity(harness.pid, {_CORES[-1]})


def _repeat(bundle: Sequence[bytes], until: float) -> Iterator[Sequence[bytes]]:
    yield bundle
    while time.perf_counter() < until:
        yield bundle


def _count(side: str, bundles: Sequence[Bundle], size: int) -> None:
    for bundle in bundles:
        found = {topic: len(outputs) for topic, outputs in bundle.outputs().items()}
        if found != {RESULTS: size}:
            raise WrongAnswerError(f"{TITLES[side]}: {found} out of a bundle of {size}")
