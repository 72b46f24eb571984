"""Plain forward passes by batch size: nothing around them, inputs on the device already."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator

import torch

from benchmarks.gpu.context import Context, Row
from benchmarks.gpu.workload import plain_module, resident_batch

_LONGEST_S = 1.0


def measure(context: Context) -> Iterator[Row]:
    """Yield requests a second for each precision and batch size, until one does not fit into memory."""
    scale = context.scale
    left = len(scale.precisions) * len(scale.batches)
    for precision in scale.precisions:
        workload = scale.workload(precision)
        module = plain_module(workload, scale)
        for rows in scale.batches:
            seconds = context.share(left, _LONGEST_S)
            left -= 1
            try:
                pass_s = seconds_of_a_pass(module, resident_batch(workload, scale, rows), context, seconds)
            except torch.OutOfMemoryError:
                break
            yield {"precision": workload.precision, "batch": rows, "ms": pass_s * 1e3, "rate": rows / pass_s}


def seconds_of_a_pass(
    module: torch.nn.Module, batch: dict[str, torch.Tensor], context: Context, seconds: float
) -> float:
    """Return the mean time of a forward pass, over about so many seconds."""

    def seconds_of(passes: int) -> float:
        begun = time.perf_counter()
        for _ in range(passes):
            module(**batch)
        context.scale.synchronize()
        return time.perf_counter() - begun

    with torch.inference_mode():
        seconds_of(3)  # the first ones allocate memory and choose kernels
        passes = max(3, math.ceil(seconds / seconds_of(1)))
        return seconds_of(passes) / passes
