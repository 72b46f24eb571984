"""What `benchmarks.handler` measures: processor time, one request at a time, and loads of the model."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.handler import sides as handler_sides
from benchmarks.handler.sides import BUNDLE, OURS, silent
from benchmarks.harness import request_sides
from benchmarks.harness.beam_thread import counted_metrics
from benchmarks.harness.machine import Machine
from benchmarks.harness.models import CountedLinear, Workload, counted_linear, example
from benchmarks.harness.request_sides import RequestSide
from pipeline.request.input_spec import InputSpec

MODEL_ALONE = f"the model alone, batches of {BUNDLE}"


@dataclass(frozen=True)
class Cost:
    """What a message or request costs, round by round.

    Attributes:
        features: Of a request.
        model: The model's title.
        title: The side's.
        rounds_us: Microseconds a message or request in each round.
    """

    features: int
    model: str
    title: str
    rounds_us: tuple[float, ...]

    @property
    def median_us(self) -> float:
        """The median of the rounds."""
        return statistics.median(self.rounds_us)


def take_turns(
    turns: Mapping[str, Callable[[], object]], rounds: int, times: int, clock: Callable[[], float]
) -> dict[str, tuple[float, ...]]:
    """Have the sides take turns, and return the seconds that one call takes, round by round.

    Args:
        turns: The calls by title. In each round they follow one another.
        rounds: How many.
        times: How often a turn makes its call in a row.
        clock: Returns seconds: of time, or of processor time.
    """
    seconds: dict[str, list[float]] = {title: [] for title in turns}
    for _ in range(rounds):
        for title, call in turns.items():
            call()  # refills the caches that the turn before has used
            begun = clock()
            for _ in range(times):
                call()
            seconds[title].append((clock() - begun) / times)
    return {title: tuple(values) for title, values in seconds.items()}


def processor_time(
    workload: Workload, machine: Machine, folder: Path, rounds: int, bundles: int, *, float32: bool = False
) -> list[Cost]:
    """Return the processor time of a message through decode, RunInference and encode, on one bundle thread.

    It is that of the whole process.

    Args:
        workload: The model and its inputs.
        machine: What both sides compute on.
        folder: For the weights.
        rounds: In which the sides take turns.
        bundles: Of each side in a round.
        float32: Whether ours has a second side, with binary bodies.

    Raises:
        WrongAnswerError: The sides do not answer alike.
    """
    all_sides = handler_sides.sides(workload, machine, folder, float32=float32)
    turns: dict[str, Callable[[], object]] = {side.title: side.bundle for side in all_sides}
    with counted_metrics():
        handler_sides.check(all_sides)
        turns[MODEL_ALONE] = _model_alone(workload, machine)
        seconds = take_turns(turns, rounds, bundles, time.process_time)
    return _costs(workload, seconds, BUNDLE)


def cost_of_metrics(machine: Machine, folder: Path, rounds: int, bundles: int) -> list[Cost]:
    """Return the processor time of ours on the example's messages, with the job's metrics and without."""
    (ours,) = (side for side in handler_sides.sides(example(), machine, folder) if side.title == OURS)
    both = [ours, silent(ours)]
    with counted_metrics():
        handler_sides.check(both)
        turns = {side.title: side.bundle for side in both}
        seconds = take_turns(turns, rounds, bundles, time.process_time)
    return _costs(example(), seconds, BUNDLE)


def one_at_a_time(
    workload: Workload, machine: Machine, folder: Path, rounds: int, requests: int
) -> list[Cost]:
    """Return how long one bundle thread waits for a bundle of one request, without decode and encode."""
    sides = request_sides.request_sides(workload, machine, folder)
    inputs = workload.inputs(1)
    request_sides.check(sides, inputs)
    with counted_metrics():
        turns = {side.title: _one_request(side, workload) for side in sides}
        seconds = take_turns(turns, rounds, requests, time.perf_counter)
    return _costs(workload, seconds, 1)


def loads(machine: Machine, folder: Path) -> dict[str, int]:
    """Return how often each side loads its model when a worker is idle for a minute and then busy again.

    After the minute the worker tears down the bundle thread's DoFns; for the next bundle it sets up new ones.
    """
    workload = counted_linear(4)
    counts = {}
    for side in request_sides.request_sides(workload, machine, folder):
        bundle = side.ready(workload.inputs(1))
        CountedLinear.loads = 0
        for _ in range(2):
            steps = side.expanded.set_up()
            steps.infer(bundle())
            steps.tear_down()
            del steps
            gc.collect()
        counts[side.title] = CountedLinear.loads
    return counts


def _model_alone(workload: Workload, machine: Machine) -> Callable[[], object]:
    """Return a forward pass of a bundle that is a tensor already, with its output on the host."""
    device = machine.torch_device
    module = workload.make().to(device)
    batch = torch.from_numpy(InputSpec.parse(workload.input_shape).stack(workload.inputs(BUNDLE))).to(device)

    def forward() -> torch.Tensor:
        with torch.inference_mode():
            return module(batch).cpu()

    return forward


def _one_request(side: RequestSide, workload: Workload) -> Callable[[], object]:
    steps = side.expanded.set_up()
    bundle = side.ready(workload.inputs(1))
    return lambda: [side.on_host(answer) for answer in steps.infer(bundle())]


def _costs(workload: Workload, seconds: Mapping[str, tuple[float, ...]], messages: int) -> list[Cost]:
    features = int(workload.input_shape)
    return [
        Cost(features, workload.title, title, tuple(value / messages * 1e6 for value in values))
        for title, values in seconds.items()
    ]
