"""CUDA graphs: a forward pass whose kernels are launched together, for a few batch sizes."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from pipeline.model.compute import capturing, is_device_lost, is_out_of_memory

_LOGGER = logging.getLogger(__name__)

# torch wants the first calls, which choose kernels and make workspaces, outside of a capture.
_WARM_UPS = 2


class _Thread(threading.local):
    """Whether a thread captures. One that only checks models would keep memory for what it never replays."""

    captures = False


_thread = _Thread()


def capture_on_this_thread() -> None:
    """Have the calling thread capture graphs of the models that it runs from now on."""
    _thread.captures = True


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

    def __init__(self, module: torch.nn.Module, max_batch_size: int) -> None:
        self._module = module
        self._sizes = graph_sizes(max_batch_size)
        # Graphs write into memory of their own, so that threads cannot share one. They go with the model.
        self._held = _Held()
        self._given_up = False

    def sizes(self) -> Sequence[int] | None:
        """Return the rows of the batches to call it with, ascending; None: any, as there are no graphs."""
        return None if self._given_up else self._sizes

    def __call__(self, *tensors: torch.Tensor, **named: torch.Tensor) -> Any:
        """Return what the module returns; it is overwritten by the thread's next call.

        Args:
            tensors: Inputs by position, the batch first, on the current stream's GPU.
            named: Inputs by name, always in the same order.

        Raises:
            Exception: Whatever the module raised.
        """
        if self._given_up:
            self._held.graphs.clear()
            return self._module(*tensors, **named)
        inputs = [*tensors, *named.values()]
        rows = len(inputs[0])
        graph = self._held.graphs.get(rows)
        if graph is not None:
            return graph.replay(inputs)
        if rows in self._held.graphs or not _thread.captures:
            return self._module(*tensors, **named)
        # A module may write into its inputs.
        originals = [tensor.clone() for tensor in inputs]
        output = self._module(*tensors, **named)
        self._held.graphs[rows] = self._try_capture(originals, list(named), output)
        return output

    def _try_capture(self, inputs: list[torch.Tensor], names: list[str], wanted: Any) -> _Graph | None:
        """Return a graph for inputs like these, or None where there is to be none.

        Raises:
            RuntimeError: The device is lost.
        """
        try:
            return self._capture(inputs, names, wanted)
        except Exception as error:  # the module has just answered, so that no request must fail for it
            if is_device_lost(error):
                raise
            reason = str(error).partition("\n")[0]
            if is_out_of_memory(error):
                _LOGGER.info("no memory for a CUDA graph of %d rows: %s", len(inputs[0]), reason)
            else:
                self._given_up = True
                _LOGGER.warning("the model runs without CUDA graphs, which small batches gain by: %s", reason)
            return None

    def _capture(self, inputs: list[torch.Tensor], names: list[str], wanted: Any) -> _Graph:
        """Capture a graph for inputs like these.

        Args:
            inputs: By position, then those with names.
            names: Of the last ones.
            wanted: What the module returned for them.

        Raises:
            Exception: The module cannot be captured, or the graph does not answer as it does.
        """
        held = [tensor.clone() for tensor in inputs]
        first_named = len(held) - len(names)
        by_position, by_name = held[:first_named], dict(zip(names, held[first_named:], strict=True))
        stream = torch.cuda.current_stream()
        with capturing:
            for _ in range(_WARM_UPS):
                self._module(*by_position, **by_name)
            graph = torch.cuda.CUDAGraph()
            if self._held.pool is None:
                self._held.pool = torch.cuda.graph_pool_handle()
            # Other threads go on allocating memory meanwhile, which is an error in torch's default mode.
            with torch.cuda.graph(
                graph, pool=self._held.pool, stream=stream, capture_error_mode="thread_local"
            ):
                output = self._module(*by_position, **by_name)
        captured = _Graph(graph, held, output)
        captured.replay(inputs)
        if not _alike(output, wanted):
            raise RuntimeError("a graph of it answers otherwise than the model itself")
        return captured


class _Held(threading.local):
    """A thread's graphs of one model, by rows (None: that size is not captured), and their memory."""

    def __init__(self) -> None:
        self.graphs: dict[int, _Graph | None] = {}
        # One for all: no two graphs of a thread run at the same time.
        self.pool: Any = None


class _Graph:
    """A captured forward pass, the memory that it reads, and the one that it writes."""

    def __init__(self, graph: torch.cuda.CUDAGraph, inputs: list[torch.Tensor], output: Any) -> None:
        self._graph = graph
        self._inputs = inputs
        self._output = output

    def replay(self, inputs: Sequence[torch.Tensor]) -> Any:
        for held, given in zip(self._inputs, inputs, strict=True):
            held.copy_(given)
        self._graph.replay()
        return self._output


def _alike(one: Any, other: Any) -> bool:
    """Return whether two outputs hold the same numbers, but for the rounding of other kernels."""
    if isinstance(one, torch.Tensor):
        if not one.is_floating_point():
            return torch.equal(one, other)
        return bool(torch.allclose(one.float(), other.float(), rtol=1e-2, atol=1e-3, equal_nan=True))
    if isinstance(one, Mapping):
        return all(_alike(one[name], other[name]) for name in one)
    return all(_alike(mine, its) for mine, its in zip(one, other, strict=True))
