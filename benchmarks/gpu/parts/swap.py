"""A swap under load: latency while another model is loaded beside the active one, and who answered."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import orjson
import torch

from benchmarks.gpu.context import Context, NotAvailableError, Row
from benchmarks.gpu.drive import percentile
from benchmarks.gpu.options import job_options
from benchmarks.gpu.workload import flags_of
from benchmarks.harness.models import Workload
from pipeline.model.golden import SUFFIX
from pipeline.request.input_spec import Inputs
from pipeline.request.messages import Request, Result, Timeline

_THREADS = 12
# What the pointer names, one after the other. It begins with v1.
_SWAPS = ("v2", "v1")
# Bundles of each thread that do not count.
_WARM_UP = 20
_LEAST_S = 3.0
_GOLDEN_ROWS = 8
_LONGEST_SWAP_S = 60.0


@dataclass(frozen=True)
class Sent:
    """A bundle of one request.

    Attributes:
        begun: Of `time.perf_counter`.
        ended: Likewise.
        version: That answered; None for a dead letter.
        right: Whether the answer was that version's.
    """

    begun: float
    ended: float
    version: str | None
    right: bool


@dataclass(frozen=True)
class Swap:
    """A pointer that was written.

    Attributes:
        begun: Of `time.perf_counter`.
        ended: When the new version answered, or was waited for no longer.
        seen: Whether it answered.
    """

    begun: float
    ended: float
    seen: bool


def measure(context: Context) -> Iterator[Row]:
    """Yield p50 and p99 between swaps and during them, and what was lost or wrong.

    Raises:
        NotAvailableError: Apache Beam, by which pointers are read, is not installed.
    """
    if not context.with_beam:
        raise NotAvailableError("pointers are read by Apache Beam's filesystems, and it is not installed")
    from pipeline.inference.local.process_model import ProcessModel

    scale = context.scale
    workload = scale.workload(scale.precisions[0])
    inputs = workload.inputs(_THREADS)
    answers = {name: _version(context, workload, name, seed, inputs) for name, seed in (("v1", 1), ("v2", 2))}
    pointer = context.folder / "current"
    pointer.write_text("v1.pt")
    flags = flags_of(workload, scale, pointer)
    del flags["model_path"]
    options = job_options({**flags, "model_pointer": str(pointer), "model_refresh_s": "0.05"})
    model = ProcessModel(options, on_dataflow=False)
    sent: list[Sent] = []
    stop = threading.Event()

    def work(number: int) -> None:
        while not stop.is_set():
            begun = time.perf_counter()
            now = time.time()
            (answer,) = model.submit([Request("1", inputs[number], b"", {}, b"{}", Timeline(now, now))])
            ended = time.perf_counter()
            if isinstance(answer, Result):
                version = answer.model_id.partition(".")[0]
                right = np.allclose(answer.prediction, answers[version][number], 5e-2, 5e-2)
                sent.append(Sent(begun, ended, version, bool(right)))
            else:
                sent.append(Sent(begun, ended, None, False))

    swaps: list[Swap] = []
    with ThreadPoolExecutor(_THREADS) as pool:
        running = [pool.submit(work, number) for number in range(_THREADS)]
        try:
            time.sleep(min(3.0, context.left() / 6))
            for name in _SWAPS:
                if context.left() < _LEAST_S:
                    break
                begun = time.perf_counter()
                pointer.write_text(f"{name}.pt")
                seen = _answers(name, sent, min(_LONGEST_SWAP_S, context.left()))
                swaps.append(Swap(begun, time.perf_counter(), seen))
                if not seen:
                    break  # the next one's version still answers
                time.sleep(min(1.5, context.left() / 6))
        finally:
            stop.set()
            for each in running:
                each.result()
            model.close()
    yield from summary(sent, swaps, len(_SWAPS))


def summary(sent: Sequence[Sent], swaps: Sequence[Swap], wanted: int) -> Iterator[Row]:
    """Yield latencies between swaps and during them, then counts.

    Args:
        sent: In the order of their answers.
        swaps: Those that were tried.
        wanted: Swaps in all.
    """
    during: list[float] = []
    between: list[float] = []
    for each in sent[_THREADS * _WARM_UP :]:
        swapping = any(swap.begun <= each.begun < swap.ended for swap in swaps)
        (during if swapping else between).append(each.ended - each.begun)
    for title, latencies in (("between swaps", between), ("during a swap", during)):
        if latencies:
            ordered = sorted(latencies)
            yield {
                "when": title,
                "requests": len(ordered),
                "p50_ms": percentile(ordered, 0.5) * 1e3,
                "p99_ms": percentile(ordered, 0.99) * 1e3,
            }
    seen = [swap for swap in swaps if swap.seen]
    yield {
        "when": "in all",
        "requests": len(sent),
        "swaps": len(seen),
        "swap_s": max((swap.ended - swap.begun for swap in seen), default=0.0),
        "swaps_not_seen": len(swaps) - len(seen),
        "swaps_not_tried": wanted - len(swaps),
        "wrong": sum(not each.right for each in sent),
    }


def _answers(version: str, sent: Sequence[Sent], within_s: float) -> bool:
    """Return whether a version comes to answer in time."""
    limit = time.monotonic() + within_s
    while time.monotonic() < limit:
        if sent and sent[-1].version == version:
            return True
        time.sleep(0.01)
    return False


def _version(context: Context, workload: Workload, name: str, seed: int, inputs: list[Inputs]) -> np.ndarray:
    """Write a model and its golden set; return what it answers, computed on the device in float32."""
    torch.manual_seed(seed)
    module = workload.model_class(**workload.model_params).eval()
    path: Path = context.folder / f"{name}.pt"
    torch.save(module.state_dict(), path)
    names = list(inputs[0]) if isinstance(inputs[0], dict) else []
    (only,) = names
    stacked = torch.from_numpy(np.stack([each[only] for each in inputs]))
    module = module.to(context.scale.torch_device)
    with torch.inference_mode():
        wanted: np.ndarray = module(stacked.to(context.scale.torch_device)).cpu().numpy()
    lines = [
        orjson.dumps({"inputs": {only: row.tolist()}, "prediction": prediction.tolist()})
        for row, prediction in zip(stacked[:_GOLDEN_ROWS], wanted, strict=False)
    ]
    Path(f"{path}{SUFFIX}").write_bytes(b"\n".join(lines) + b"\n")
    return wanted
