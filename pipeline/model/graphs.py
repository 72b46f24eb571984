"""CUDA graphs: a forward pass whose kernels are launched together, for a few batch sizes."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from pipeline.model.compute import is_device_lost, is_out_of_memory

_LOGGER = logging.getLogger(__name__)

# torch wants the first calls, which choose kernels and make workspaces, outside of a capture.
_WARM_UPS = 2

# torch captures one graph at a time.
_capturing = threading.Lock()


def graph_sizes(max_batch_size: int) -> list[int]:
    """Return the batch sizes that graphs are captured for, ascending: powers of two, and those times 1.5.

    A batch is padded to the next of them, by less than half its size.
    """
    sizes = {max_batch_size}
    power = 1
    while power < max_batch_size:
        sizes |= {power, min(power * 3 // 2, max_batch_size)}
        power *= 2
    return sorted(sizes)


class Graphed:
    """A module on a GPU whose forward passes are captured for each thread and batch size, then replayed.

    Called from Python, a 12-layer encoder takes 4 ms to launch its kernels on an H200, whatever the batch up
    to 64 rows, and more where other threads want the interpreter meanwhile; a graph of it is one launch.

    What a module does in Python happens at the capture only. So each graph must answer the batch that it was
    captured with as the module itself does; a module that cannot be captured, or answers otherwise, is called
    as it is from then on, and the log says why.
    """

    def __init__(self, module: torch.nn.Module) -> None:
        self._module = module
        # Graphs write into memory of their own, so that threads cannot share one. They go with the model.
        self._of_thread = threading.local()
        self._uncaptured = False

    def __call__(self, *tensors: torch.Tensor, **named: torch.Tensor) -> Any:
        """Return what the module returns; it is overwritten by the thread's next call.

        Args:
            tensors: inputs by position, the batch first, on the current stream's GPU.
            named: inputs by name, always in the same order.

        Raises:
            Exception: whatever the module raised.
        """
        if self._uncaptured:
            return self._module(*tensors, **named)
        graphs: dict[int, _Graph | None] = self._of_thread.__dict__.setdefault("graphs", {})
        inputs = [*tensors, *named.values()]
        rows = len(inputs[0])
        graph = graphs.get(rows)
        if graph is not None:
            return graph.replay(inputs)
        output = self._module(*tensors, **named)
        if rows not in graphs:
            graphs[rows] = self._try_capture(tensors, named, output)
        return output

    def _try_capture(
        self, tensors: Sequence[torch.Tensor], named: Mapping[str, torch.Tensor], wanted: Any
    ) -> _Graph | None:
        """Return a graph for inputs like these, or None where there is to be none."""
        try:
            return self._capture(tensors, named, wanted)
        except RuntimeError as error:
            if is_device_lost(error):
                raise
            reason = str(error).partition("\n")[0]
            if is_out_of_memory(error):
                # The module itself has just run with so many rows: without a graph it goes on doing so.
                rows = len([*tensors, *named.values()][0])
                _LOGGER.info("no memory for a CUDA graph of %d rows: %s", rows, reason)
            else:
                self._uncaptured = True
                _LOGGER.warning("the model runs without CUDA graphs, which small batches gain by: %s", reason)
            return None

    def _capture(
        self, tensors: Sequence[torch.Tensor], named: Mapping[str, torch.Tensor], wanted: Any
    ) -> _Graph:
        """Capture a graph for inputs like these.

        Raises:
            RuntimeError: the module cannot be captured, or the graph does not answer as it does; from torch.
        """
        held = [tensor.clone() for tensor in (*tensors, *named.values())]
        by_position, by_name = held[: len(tensors)], dict(zip(named, held[len(tensors) :], strict=True))
        stream = torch.cuda.current_stream()
        with _capturing:
            for _ in range(_WARM_UPS):
                self._module(*by_position, **by_name)
            graph = torch.cuda.CUDAGraph()
            # Other threads go on allocating memory meanwhile, which is an error in torch's default mode.
            with torch.cuda.graph(graph, pool=self._pool(), stream=stream, capture_error_mode="thread_local"):
                output = self._module(*by_position, **by_name)
        captured = _Graph(graph, held, output)
        captured.replay(held)
        if not _alike(output, wanted):
            raise RuntimeError("a graph of it answers otherwise than the model itself")
        return captured

    def _pool(self) -> Any:
        # One for all graphs of a thread: no two of them run at the same time.
        if "pool" not in self._of_thread.__dict__:
            self._of_thread.pool = torch.cuda.graph_pool_handle()
        return self._of_thread.pool


class _Graph:
    """A captured forward pass, the memory that it reads, and the one that it writes."""

    def __init__(self, graph: torch.cuda.CUDAGraph, inputs: list[torch.Tensor], output: Any) -> None:
        self._graph = graph
        self._inputs = inputs
        self._output = output

    def replay(self, inputs: Sequence[torch.Tensor]) -> Any:
        for held, given in zip(self._inputs, inputs, strict=True):
            if held is not given:
                held.copy_(given)
        self._graph.replay()
        return self._output


def _alike(one: Any, other: Any) -> bool:
    """Return whether two outputs hold the same numbers, but for the rounding of another choice of kernels."""
    if isinstance(one, torch.Tensor):
        return bool(torch.allclose(one.float(), other.float(), rtol=1e-2, atol=1e-3, equal_nan=True))
    if isinstance(one, Mapping):
        return all(_alike(one[name], other[name]) for name in one)
    return all(_alike(mine, its) for mine, its in zip(one, other, strict=True))
