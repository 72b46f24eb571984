"""Whether copies hide behind computing: images, whose copy takes as long as their forward pass."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import nn

from benchmarks.gpu.context import Context, Row
from benchmarks.gpu.parts.plain import seconds_of_a_pass
from pipeline.model.compute import Compute
from pipeline.model.load import load
from pipeline.model.model import Model
from pipeline.request.input_spec import Inputs, InputSpec

_SHAPE = "3x224x224"
_ROWS = 64
_WIDTH = 4096


class Repeated(nn.Module):
    """A layer over the first pixels, again and again: float32 [batch, 3, 224, 224] → [batch, 16]."""

    def __init__(self, width: int, repeats: int) -> None:
        super().__init__()
        self.layer = nn.Linear(width, width)
        self.repeats = repeats
        self.width = width

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return the first numbers of the last layer."""
        x = features.flatten(1)[:, : self.width]
        for _ in range(self.repeats):
            x = torch.tanh(self.layer(x))
        return x[:, :16]


def measure(context: Context) -> Iterator[Row]:
    """Yield the time of each step alone, then of whole batches, one, two and three at once."""
    scale = context.scale
    width, rows = (_WIDTH, _ROWS) if scale.device == "gpu" else (256, 4)
    spec = InputSpec.parse(_SHAPE)
    images = np.random.default_rng(1).standard_normal((rows, 3, 224, 224)).astype(np.float32)
    seconds = context.share(8, 1.0)
    copy_ms = _copy_ms(images, context, seconds)
    repeats = _repeats_of(copy_ms, width, images, context)
    path = context.folder / "repeated.pt"
    torch.save(Repeated(width, repeats).state_dict(), path)
    model = load(
        str(path),
        spec,
        model_class=f"{__name__}:Repeated",
        model_params={"width": width, "repeats": repeats},
        max_batch_size=rows,
        compute=Compute(scale.device),
    )
    module = Repeated(width, repeats).to(scale.torch_device)
    resident = {"features": torch.from_numpy(images).to(scale.torch_device)}
    compute_ms = seconds_of_a_pass(module, resident, context, seconds) * 1e3
    gather_ms = _gather_ms(images, seconds)
    size_mb = images.nbytes / 1e6
    yield {"step": "put together in pinned memory", "ms": gather_ms, "gb_per_s": size_mb / gather_ms}
    yield {"step": "copy to the device", "ms": copy_ms, "gb_per_s": size_mb / copy_ms}
    yield {"step": "forward pass", "ms": compute_ms}
    for threads in (1, 2, 3):
        batch_ms = _batch_ms(model, [images], rows, threads, seconds)
        yield {
            "step": whole_batches(threads),
            "ms": batch_ms,
            "of_sum": batch_ms / (gather_ms + copy_ms + compute_ms),
            "of_longest": batch_ms / max(gather_ms, copy_ms, compute_ms),
        }


def whole_batches(at_once: int) -> str:
    """Return the step of the row of whole batches, so many at once."""
    return f"whole batches, {at_once} at once"


def _copy_ms(images: np.ndarray, context: Context, seconds: float) -> float:
    host = torch.from_numpy(images)
    if context.scale.device == "gpu":
        host = host.pin_memory()

    def copy(times: int) -> float:
        begun = time.perf_counter()
        for _ in range(times):
            host.to(context.scale.torch_device, non_blocking=True, copy=True)
        context.scale.synchronize()
        return (time.perf_counter() - begun) / times

    copy(3)
    return copy(max(3, round(seconds / copy(3)))) * 1e3


def _gather_ms(images: np.ndarray, seconds: float) -> float:
    """Return the time of what staging does: copy rows of several bundles into one buffer."""
    parts = list(np.split(images, 4))
    buffer = torch.empty(images.shape, pin_memory=torch.cuda.is_available()).numpy()
    times, begun = 0, time.perf_counter()
    while not times or time.perf_counter() - begun < seconds / 2:
        np.concatenate(parts, out=buffer)
        times += 1
    return (time.perf_counter() - begun) / times * 1e3


def _repeats_of(ms: float, width: int, images: np.ndarray, context: Context) -> int:
    """Return how many layers take about so long."""
    few = Repeated(width, 8).to(context.scale.torch_device)
    resident = {"features": torch.from_numpy(images).to(context.scale.torch_device)}
    layer_ms = seconds_of_a_pass(few, resident, context, 0.2) * 1e3 / 8
    return max(1, round(ms / layer_ms))


def _batch_ms(model: Model, bundles: list[Inputs], rows: int, threads: int, seconds: float) -> float:
    """Return the time between two batches' ends."""

    def work(until: float) -> int:
        torch.set_num_threads(1)
        done = 0
        while not done or time.perf_counter() < until:
            model.run(bundles, rows)
            done += 1
        return done

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, [time.perf_counter() + 0.3] * threads))
        begun = time.perf_counter()
        done = sum(pool.map(work, [begun + seconds] * threads))
        return (time.perf_counter() - begun) / done * 1e3
