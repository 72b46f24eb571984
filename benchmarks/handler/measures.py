"""What `benchmarks.handler` measures: processor time, one request at a time, and loads of the model."""

import gc
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.handler import sides as handler_sides
from benchmarks.handler.sides import BUNDLE, OURS
from benchmarks.harness import request_sides
from benchmarks.harness.beam_thread import counted_metrics
from benchmarks.harness.machine import Machine
from benchmarks.harness.models import CountedLinear, Workload, counted_linear, example
from benchmarks.harness.request_sides import RequestSide
from pipeline import metrics
from pipeline.request.input_spec import InputSpec

MODEL_ALONE = f"the model alone, batches of {BUNDLE}"
SILENT = "ours, no metrics"


@dataclass(frozen=True)
class Cost:
    """Microseconds a message or request, round by round. `features` are the request's."""

    features: int
    model: str
    title: str
    rounds_us: tuple[float, ...]

    @property
    def median_us(self) -> float:
        return statistics.median(self.rounds_us)


def take_turns(
    turns: Mapping[str, Callable[[], object]], rounds: int, times: int, clock: Callable[[], float]
) -> dict[str, tuple[float, ...]]:
    """Seconds that one call takes, round by round: in each, every turn is called `times` times in a row."""
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
    """Of the whole process, for a message through decode, RunInference and encode, on one bundle thread.

    Args:
        folder: for the weights.
        rounds: in which the sides take turns, with `bundles` each.
        float32: once more ours, with binary bodies.
    """
    made = handler_sides.sides(workload, machine, folder, float32=float32)
    turns: dict[str, Callable[[], object]] = {side.title: side.bundle for side in made}
    with counted_metrics():
        handler_sides.check(made)
        turns[MODEL_ALONE] = _model_alone(workload, machine)
        seconds = take_turns(turns, rounds, bundles, time.process_time)
    return _costs(workload, seconds, BUNDLE)


def cost_of_metrics(machine: Machine, folder: Path, rounds: int, bundles: int) -> list[Cost]:
    """Processor time of ours, with the job's metrics and without, on the example's messages."""
    (side,) = (side for side in handler_sides.sides(example(), machine, folder) if side.title == OURS)

    def silent() -> None:
        with no_metrics():
            side.bundle()

    with counted_metrics():
        handler_sides.check([side])
        turns = {OURS: side.bundle, SILENT: silent}
        seconds = take_turns(turns, rounds, bundles, time.process_time)
    return _costs(example(), seconds, BUNDLE)


def one_at_a_time(
    workload: Workload, machine: Machine, folder: Path, rounds: int, requests: int
) -> list[Cost]:
    """Time that one bundle thread waits for a bundle of one request, without decode and encode."""
    sides = request_sides.request_sides(workload, machine, folder)
    inputs = workload.inputs(1)
    request_sides.check(sides, inputs)
    with counted_metrics():
        turns = {side.title: _one_request(side, workload) for side in sides}
        seconds = take_turns(turns, rounds, requests, time.perf_counter)
    return _costs(workload, seconds, 1)


def loads(machine: Machine, folder: Path) -> dict[str, int]:
    """How often each side has loaded its model once a worker was idle for a minute and is busy again.

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


@contextmanager
def no_metrics() -> Iterator[None]:
    """The job's metrics cost nothing meanwhile, and count nothing."""
    kept = {name: getattr(metrics, name) for name in ("count_result", "count_models")}
    for name in kept:
        setattr(metrics, name, lambda *_: None)
    try:
        yield
    finally:
        for name, function in kept.items():
            setattr(metrics, name, function)


def _model_alone(workload: Workload, machine: Machine) -> Callable[[], object]:
    """One forward pass of a bundle that is a tensor already, and its output on the host."""
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
