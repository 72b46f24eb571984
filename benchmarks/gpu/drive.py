"""Bundle threads that send bundle after bundle, and what came of it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Barrier, BrokenBarrierError

import torch

from benchmarks.gpu.sides import Answered, Side
from pipeline.request.input_spec import Inputs

_TOGETHER_WITHIN_S = 120.0


@dataclass(frozen=True)
class Load:
    """What the threads got through together.

    Attributes:
        requests_per_s: Over all threads.
        p50_ms: Of whole bundles.
        p99_ms: Likewise.
        mean_batch: Requests of a forward pass.
        cpu_us: Processor time of this process for each request, in microseconds.
    """

    requests_per_s: float
    p50_ms: float
    p99_ms: float
    mean_batch: float
    cpu_us: float


def drive(
    side: Side,
    inputs: Sequence[Inputs],
    threads: int,
    bundle: int,
    seconds: float,
    warm_up_s: float,
    check: Callable[[Answered], None] = lambda answered: None,
) -> Load:
    """Have each thread send its bundle again as soon as it is answered.

    Args:
        side: What answers.
        inputs: At least `threads * bundle` of them; each thread has its own.
        threads: Bundle threads.
        bundle: Requests of a bundle.
        seconds: For which bundles count that begin in them.
        warm_up_s: Before that.
        check: Sees each answered bundle that counts.

    Raises:
        Exception: What a thread met with; the others do not wait for it.
    """
    together = Barrier(threads)
    cpu: list[float] = []

    def work(number: int) -> tuple[list[float], float, float]:
        torch.set_num_threads(1)
        try:
            with side.bundle_thread(inputs[number * bundle : (number + 1) * bundle]) as send:
                together.wait(_TOGETHER_WITHIN_S)
                _repeat(send, warm_up_s, check)
                together.wait(_TOGETHER_WITHIN_S)
                begun = time.process_time()
                done = _repeat(send, seconds, check)
                cpu.append(time.process_time() - begun)
                return done
        except BaseException:
            together.abort()
            raise

    with ThreadPoolExecutor(threads) as pool:
        running = [pool.submit(work, number) for number in range(threads)]
    errors = [error for each in running if (error := each.exception()) is not None]
    if errors:
        # A broken barrier is what the others saw of it.
        raise next((error for error in errors if not isinstance(error, BrokenBarrierError)), errors[0])
    done = [each.result() for each in running]
    latencies = sorted(latency for found, _, _ in done for latency in found)
    requests = len(latencies) * bundle
    return Load(
        sum(len(found) * bundle / elapsed for found, elapsed, _ in done),
        percentile(latencies, 0.50) * 1e3,
        percentile(latencies, 0.99) * 1e3,
        requests / sum(passes for _, _, passes in done),
        max(cpu) * 1e6 / requests,
    )


def percentile(ordered: Sequence[float], share: float) -> float:
    """Return the least of the ordered values that so large a share of them does not exceed."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def _repeat(
    send: Callable[[], Answered], seconds: float, check: Callable[[Answered], None]
) -> tuple[list[float], float, float]:
    """Return the bundles' latencies, the seconds in all, and the forward passes that they took."""
    latencies: list[float] = []
    passes = elapsed = 0.0
    begun = time.perf_counter()
    while not latencies or elapsed < seconds:
        sent = time.perf_counter()
        answered = send()
        now = time.perf_counter()
        check(answered)
        latencies.append(now - sent)
        elapsed = now - begun
        # An answer of a batch of eight stands for an eighth of a forward pass.
        passes += sum(1 / size for size in answered.batch_sizes)
    return latencies, elapsed, passes
