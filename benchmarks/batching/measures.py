"""What `benchmarks.batching` measures: bundle threads that send bundle after bundle, and plain passes."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Barrier

import torch

from benchmarks.harness.beam_thread import InferenceSteps, counted_metrics
from benchmarks.harness.machine import Machine
from benchmarks.harness.models import Workload
from benchmarks.harness.request_sides import RequestSide
from pipeline.request.input_spec import Inputs, InputSpec

_TOGETHER_WITHIN_S = 60.0


@dataclass(frozen=True)
class Run:
    """A round of one side.

    Attributes:
        title: The side's.
        threads: Bundle threads.
        bundle: Requests of a bundle.
        requests_per_s: Of all threads together.
        p50_ms: Of whole bundles, as p99_ms.
        mean_batch: Requests a forward pass.
    """

    title: str
    threads: int
    bundle: int
    requests_per_s: float
    p50_ms: float
    p99_ms: float
    mean_batch: float


@dataclass(frozen=True)
class _Work:
    """What one thread got through.

    Attributes:
        latencies_s: Of each bundle.
        elapsed_s: Of all bundles together.
        batches: Forward passes. One that other threads share counts in part.
    """

    latencies_s: list[float]
    elapsed_s: float
    batches: float


def drive(
    side: RequestSide,
    workload: Workload,
    machine: Machine,
    threads: int,
    bundle: int,
    seconds: float,
    warm_up_s: float,
) -> Run:
    """Have each thread, with DoFns of its own, send the next bundle as soon as the last is back.

    Bundles that begin in the warm-up are not counted. Those that begin in the `seconds` after it are.
    """
    inputs = workload.inputs(threads * bundle)
    copies = [side.expanded.set_up() for _ in range(threads)]
    together = Barrier(threads)

    def work(number: int) -> _Work:
        own = inputs[number * bundle : (number + 1) * bundle]
        # It holds for the thread that sets it. Without it, this thread's calls would take every core.
        torch.set_num_threads(machine.torch_threads)
        with counted_metrics():
            together.wait(_TOGETHER_WITHIN_S)
            _send(side, copies[number], own, warm_up_s)
            return _send(side, copies[number], own, seconds)

    with ThreadPoolExecutor(threads) as pool:
        done = list(pool.map(work, range(threads)))
    latencies = sorted(latency for each in done for latency in each.latencies_s)
    return Run(
        side.title,
        threads,
        bundle,
        sum(len(each.latencies_s) * bundle / each.elapsed_s for each in done),
        percentile(latencies, 0.50) * 1e3,
        percentile(latencies, 0.99) * 1e3,
        len(latencies) * bundle / sum(each.batches for each in done),
    )


def percentile(ordered: Sequence[float], share: float) -> float:
    """Return the least of the ordered values that is not exceeded by such a share of them."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def plain_rates(
    workload: Workload, machine: Machine, sizes: Sequence[int], seconds: float
) -> dict[int, float]:
    """Return requests a second in forward passes with nothing around them, by batch size.

    The inputs are on the device already, and the outputs stay there. A size that does not fit into memory
    ends the list.
    """
    module = workload.make().to(machine.torch_device)
    if workload.precision == "fp16":
        module = module.half()
    rates = {}
    for size in sizes:
        try:
            rates[size] = size / _seconds_of_a_pass(module, workload, machine, size, seconds)
        except torch.OutOfMemoryError:
            break
    return rates


def _send(side: RequestSide, steps: InferenceSteps, inputs: Sequence[Inputs], seconds: float) -> _Work:
    """Send bundle after bundle until `seconds` are over and the last is back; one at the least."""
    new_bundle = side.ready(inputs)
    latencies: list[float] = []
    batches = elapsed = 0.0
    begun = time.perf_counter()
    while not latencies or elapsed < seconds:
        bundle = new_bundle()
        sent = time.perf_counter()
        answers = steps.infer(bundle)
        for answer in answers:
            side.on_host(answer)
        now = time.perf_counter()
        latencies.append(now - sent)
        elapsed = now - begun
        # An answer of a batch of eight stands for an eighth of a forward pass.
        batches += sum(1 / side.batch_size(answer, len(inputs)) for answer in answers)
    return _Work(latencies, elapsed, batches)


def _seconds_of_a_pass(
    module: torch.nn.Module, workload: Workload, machine: Machine, size: int, seconds: float
) -> float:
    stacked = InputSpec.parse(workload.input_shape).stack(workload.inputs(size))
    arrays = stacked if isinstance(stacked, dict) else {"features": stacked}
    batch = {name: torch.from_numpy(array).to(machine.torch_device) for name, array in arrays.items()}

    def seconds_of(passes: int) -> float:
        begun = time.perf_counter()
        for _ in range(passes):
            module(**batch)
        if machine.device == "gpu":
            torch.cuda.synchronize()
        return time.perf_counter() - begun

    with torch.inference_mode():
        seconds_of(2)  # the first ones allocate memory and choose kernels
        passes = math.ceil(seconds / seconds_of(1))
        return seconds_of(passes) / passes
