"""Compiles a model for a few batch sizes, at load and never under load."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

# Takes a graph and tensors like its inputs, and returns a function of such tensors.
CompileGraph = Callable[[torch.fx.GraphModule, list[torch.Tensor]], Callable[..., Any]]


def padded_size(rows: int, max_batch_size: int) -> int:
    """Return the rows that a batch is padded to: the next power of two, at most `max_batch_size`."""
    return min(1 << (rows - 1).bit_length(), max_batch_size)


def padded_sizes(max_batch_size: int) -> list[int]:
    """Return all padded sizes, ascending."""
    return sorted({padded_size(1 << bits, max_batch_size) for bits in range(max_batch_size.bit_length() + 1)})


class Compiled:
    """A module, compiled for each batch size at the first call with that size.

    It uses torch.export and TorchInductor, the compiler of torch.compile, but does without what torch.compile
    does at each call. That search for the matching graph goes wrong now and then when several threads call at
    once, and it compiles under load what it takes for a new case (a thread with another number of threads).

    No other thread may run a compiled module while this one compiles: such calls would fail now and then,
    because torch.fx.traceback keeps notes in a global during an export.
    """

    def __init__(self, module: torch.nn.Module, compile_graph: CompileGraph | None = None) -> None:
        """Wrap a module; nothing is compiled yet.

        Args:
            module: A module that runs as one graph, whatever the values in its inputs.
            compile_graph: The compiler; default: TorchInductor.
        """
        self._module = module
        self._compile_graph = compile_graph or _inductor()
        self._by_rows: dict[int, Callable[..., Any]] = {}

    def __call__(self, *tensors: torch.Tensor, **named: torch.Tensor) -> Any:
        """Call the module. Inputs have the batch first, and are always named in the same order.

        Raises:
            Exception: Whatever the module or the compiler raised.
        """
        inputs = [*tensors, *named.values()]
        rows = len(inputs[0])
        forward = self._by_rows.get(rows)
        if forward is None:
            module = _ByPosition(self._module, list(named)) if named else self._module
            graph = torch.export.export(module, tuple(inputs)).module()
            forward = self._by_rows[rows] = self._compile_graph(graph, inputs)
        return forward(*inputs)


def _inductor() -> CompileGraph:
    import torch._inductor  # 70 MB and two seconds, paid only by those who compile

    return torch._inductor.compile


class _ByPosition(torch.nn.Module):
    """A module that takes by position, as graphs do, what the module in it takes by name."""

    def __init__(self, module: torch.nn.Module, names: list[str]) -> None:
        super().__init__()
        self._module = module
        self._names = names

    def forward(self, *tensors: torch.Tensor) -> Any:
        return self._module(**dict(zip(self._names, tensors, strict=True)))
