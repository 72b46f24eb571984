"""Out of memory on purpose: a batch that does not fit is halved, answered all the same, and remembered."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch

from benchmarks.gpu.context import Context, Row
from benchmarks.gpu.workload import load_model, save_weights
from pipeline.batching.batch_runner import BatchRunner, BatchSlice, BundleInputs
from pipeline.model.active_model import ActiveModel
from pipeline.model.compute import release_cached_memory
from pipeline.model.model import Model
from pipeline.model.outputs import OutputRows
from pipeline.request.input_spec import Inputs, InputSpec

_ROWS = 128
_BUNDLES = 16


def measure(context: Context) -> Iterator[Row]:
    """Yield a row for a batch with all memory, for the first one with little, and for the one after it."""
    scale = context.scale
    workload = scale.workload(scale.precisions[0])
    # Without CUDA graphs, whose memory stays and would hide what a batch takes.
    weights = save_weights(workload, context.folder)
    model = load_model(workload, scale, weights, max_batch_size=_ROWS, cuda_graphs=False)
    spec = InputSpec.parse(workload.input_shape)
    each = _ROWS // _BUNDLES
    inputs = workload.inputs(_ROWS)
    bundles = [
        BundleInputs(spec.stack(inputs[first : first + each]), each) for first in range(0, _ROWS, each)
    ]
    runner = BatchRunner(ActiveModel(model))
    wanted, row = _run(runner, bundles)
    yield {"memory": "all", **row}
    if scale.device == "gpu":
        end = _limit_memory(runner, bundles)
        narrow = runner
    else:
        # Stands in for the device only: which error comes, and when, is torch's on a GPU.
        end = _nothing
        narrow = BatchRunner(ActiveModel(_Cramped(model, spec, 40)))
    try:
        for which in ("first", "next"):
            found, row = _run(narrow, bundles)
            yield {
                "memory": f"a third, {which} batch" if scale.device == "gpu" else f"pretended, {which} batch",
                **row,
                "cut": "no, memory did not run out" if row["passes"] == 1 else "yes",
                "answers": "equal" if _alike(found, wanted) else "DIFFERENT",
            }
    finally:
        end()


def _run(runner: BatchRunner, bundles: Sequence[BundleInputs]) -> tuple[np.ndarray, dict[str, object]]:
    begun = time.perf_counter()
    slices = runner(list(bundles))
    elapsed = time.perf_counter() - begun
    passes = slices[0].passes
    failed = sum(each.stop - each.first for each in passes if each.failure is not None)
    arrays = [each.outputs.arrays[0] for each in passes if each.outputs is not None]
    return np.concatenate(arrays) if arrays else np.empty(0), {
        "ms": elapsed * 1e3,
        "passes": len(passes),
        "largest_pass": max(each.stop - each.first for each in passes),
        "failed_rows": failed,
    }


def _alike(found: np.ndarray, wanted: np.ndarray) -> bool:
    # Where rows failed, there are fewer.
    return found.shape == wanted.shape and np.allclose(found, wanted, 2e-2, 2e-2)


def _limit_memory(runner: BatchRunner, bundles: Sequence[BundleInputs]) -> Callable[[], None]:
    """Leave a third of what the batch took beside the weights."""
    release_cached_memory()
    weights = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    slices: list[BatchSlice] = runner(list(bundles))
    del slices
    # What was allocated at once. What torch reserves is more, and a third of it can do for the batch.
    needed = torch.cuda.max_memory_allocated() - weights
    release_cached_memory()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + needed / 3) / total)

    def end() -> None:
        torch.cuda.set_per_process_memory_fraction(1.0)

    return end


def _nothing() -> None:
    pass


class _Cramped(Model):
    """A model for which memory holds so many rows, where there is no GPU."""

    def __init__(self, model: Model, spec: InputSpec, most: int) -> None:
        super().__init__(model._forward, spec, model.model_id)
        self._most = most

    def run(self, inputs: list[Inputs], rows: int) -> OutputRows:
        """Run a batch, or fail as torch does.

        Raises:
            torch.OutOfMemoryError: It has too many rows.
        """
        if rows > self._most:
            raise torch.OutOfMemoryError("CUDA out of memory (pretended)")
        return super().run(inputs, rows)
