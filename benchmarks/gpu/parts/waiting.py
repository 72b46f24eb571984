"""What waiting for the GPU costs the CPU: a thread that spins keeps a core busy, and misleads autoscalers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import torch

from benchmarks.gpu.context import Context, NotAvailableError, Row

_KERNEL_S = 0.1
_TIMES = 5


def measure(context: Context) -> Iterator[Row]:
    """Yield processor time and wall time of each way to wait for a kernel of a tenth of a second.

    Raises:
        NotAvailableError: There is no GPU to wait for.
    """
    if context.scale.device != "gpu":
        raise NotAvailableError("there is no GPU to wait for")
    stream = torch.cuda.Stream()
    cycles = _cycles_of(_KERNEL_S)

    def by_event(blocking: bool) -> Callable[[], None]:
        event = torch.cuda.Event(blocking=blocking)

        def wait() -> None:
            event.record(stream)
            event.synchronize()

        return wait

    ways = {
        "stream.synchronize()": stream.synchronize,
        "event.synchronize(), blocking=False": by_event(False),
        "event.synchronize(), blocking=True": by_event(True),
    }
    for name, wait in ways.items():
        cpu = wall = 0.0
        for _ in range(_TIMES):
            with torch.cuda.stream(stream):
                torch.cuda._sleep(cycles)
            begun, used = time.perf_counter(), time.process_time()
            wait()
            wall += time.perf_counter() - begun
            cpu += time.process_time() - used
        yield {"wait": name, "wall_ms": wall / _TIMES * 1e3, "cpu_ms": cpu / _TIMES * 1e3}
    for name, wait in ways.items():
        yield {"wait": f"{name}, nothing to wait for", "wall_ms": _short_ms(stream, wait)}


def _cycles_of(seconds: float) -> int:
    torch.cuda._sleep(1000)
    torch.cuda.synchronize()
    begun = time.perf_counter()
    torch.cuda._sleep(100_000_000)
    torch.cuda.synchronize()
    return int(100_000_000 * seconds / (time.perf_counter() - begun))


def _short_ms(stream: torch.cuda.Stream, wait: Callable[[], None]) -> float:
    """Return the time of launching a tiny kernel and waiting for it."""
    x = torch.ones(1, device="cuda")
    begun = time.perf_counter()
    for _ in range(1000):
        with torch.cuda.stream(stream):
            x.add_(1)
        wait()
    return time.perf_counter() - begun
