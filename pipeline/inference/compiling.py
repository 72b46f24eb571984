"""torch.compile without a compilation under load: batches are padded to a few sizes, compiled at load.

Imports no Beam.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch


def padded_size(rows: int, max_batch_size: int) -> int:
    """Rows of the batch that `rows` rows are padded to: the next power of two, at most the largest batch."""
    return min(1 << (rows - 1).bit_length(), max_batch_size)


def padded_sizes(max_batch_size: int) -> list[int]:
    """All of them, ascending."""
    return sorted({padded_size(1 << bits, max_batch_size) for bits in range(max_batch_size.bit_length() + 1)})


def compiled(
    module: torch.nn.Module, sizes: int, backend: str | Callable[..., Any] = "inductor"
) -> Callable[..., Any]:
    """A module that compiles itself once for each of so many batch sizes, at the first call of each.

    To be called in inference mode only, and with tensors made in it. At a further size it raises: compiling
    takes seconds.

    Args:
        sizes: how many there are.
        backend: of torch.compile.
    """
    return torch.compile(
        module,
        backend=backend,
        dynamic=False,
        # With a break in the graph, the parts behind it would be compiled when a request first reaches them.
        fullgraph=True,
        # torch's own limit is 8 for all models of a class together.
        recompile_limit=sizes,
        isolate_recompiles=True,
        # The module never changes. Among what else is guarded by default is the calling thread's number of
        # threads: another thread than the one that compiled would compile everything anew.
        options={"guard_filter_fn": torch.compiler.keep_tensor_guards_unsafe},
    )
