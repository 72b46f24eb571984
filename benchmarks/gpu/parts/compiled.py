"""`--compile`: how long TorchInductor takes for a batch size, and what a forward pass takes then."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator

import torch

from benchmarks.gpu.context import NO_TIME, Context, NotAvailableError, Row
from benchmarks.gpu.parts.plain import seconds_of_a_pass
from benchmarks.gpu.workload import plain_module, resident_batch
from pipeline.model.compiling import Compiled

_LONGEST_S = 1.0
# A batch size takes up to a minute to compile: another is begun only where so much is left.
_LEAST_S = 20.0


def measure(context: Context) -> Iterator[Row]:
    """Yield a row for each batch size, the one that is asked for most often first.

    Raises:
        NotAvailableError: There is no C++ compiler.
    """
    if shutil.which("g++") is None:
        raise NotAvailableError("TorchInductor needs a C++ compiler, and there is no g++")
    scale = context.scale
    precision = scale.precisions[0]
    workload = scale.workload(precision)
    module = plain_module(workload, scale)
    compiled = Compiled(module)
    for number, rows in enumerate((32, 8, 1, 128) if scale.device == "gpu" else (4, 1)):
        if number and context.left() < _LEAST_S:
            yield {"precision": workload.precision, "batch": rows, **NO_TIME}
            continue
        batch = resident_batch(workload, scale, rows)
        begun = time.perf_counter()
        with torch.inference_mode():
            found = compiled(**batch).float()
            scale.synchronize()
            compile_s = time.perf_counter() - begun
            wanted = module(**batch).float()
        eager_s, compiled_s = (
            seconds_of_a_pass(way, batch, context, _LONGEST_S) for way in (module, compiled)
        )
        yield {
            "precision": workload.precision,
            "batch": rows,
            "compile_s": compile_s,
            "eager_ms": eager_s * 1e3,
            "compiled_ms": compiled_s * 1e3,
            "largest_difference": float((found - wanted).abs().max()),
        }
