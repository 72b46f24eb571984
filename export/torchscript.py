"""A model as TorchScript, which Triton's PyTorch backend runs: traced, its weights frozen into the graph."""

from __future__ import annotations

import io
import warnings
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from export.errors import ExportError
from pipeline.model.failure import said
from pipeline.model.files.model_files import drop_input_checks
from pipeline.model.operator_functions import FUNCTIONS

_ATEN = torch.ops.aten


def _size(tensor: torch.Tensor, dim: int) -> Any:
    return tensor.shape[dim]


# As it is traced, torch.ops takes the sizes that a program computes with for constants, the number of rows
# among them; functions of torch's Python API write down where they come from.
_KEEPS_SIZES: Mapping[Any, Callable[..., Any]] = {
    **FUNCTIONS,
    _ATEN.sym_size.int: _size,
    _ATEN.expand.default: torch.Tensor.expand,
    _ATEN.full.default: torch.full,
    _ATEN.ones.default: torch.ones,
    _ATEN.zeros.default: torch.zeros,
}

# Not 1: torch takes a dimension of that size for one to broadcast.
_EXAMPLE_ROWS = 2


class _ByPosition(torch.nn.Module):
    """A module that takes tensors by position, and returns one, or a tuple of them, which Triton can take."""

    def __init__(self, module: torch.nn.Module, keywords: Sequence[str]) -> None:
        super().__init__()
        self._module = module
        self._keywords = tuple(keywords)

    def forward(self, *tensors: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, ...]:
        if self._keywords:
            output = self._module(**dict(zip(self._keywords, tensors, strict=True)))
        else:
            output = self._module(*tensors)
        if isinstance(output, torch.Tensor):
            return output
        found = tuple(output.values() if isinstance(output, Mapping) else output)
        return found[0] if len(found) == 1 else found


def write(
    module: torch.fx.GraphModule,
    keywords: Sequence[str],
    example: Callable[[int], list[torch.Tensor]],
    file: Path,
) -> None:
    """Write a model as TorchScript.

    Args:
        module: Of an exported program. It is changed: it checks its inputs no more, and computes with sizes
            so that a trace keeps them.
        keywords: The names that it takes its tensors by; none: by position.
        example: Returns inputs of that many rows.
        file: To be written.

    Raises:
        ExportError: It cannot be traced.
    """
    drop_input_checks(module)
    for node in module.graph.nodes:
        if node.op == "call_function":
            node.target = _KEEPS_SIZES.get(node.target, node.target)
    module.recompile()
    try:
        with torch.no_grad(), warnings.catch_warnings():
            # That torch.jit is deprecated, and that sizes become constants: which those are, the check shows.
            warnings.simplefilter("ignore", DeprecationWarning)
            warnings.simplefilter("ignore", torch.jit.TracerWarning)
            traced = torch.jit.trace(
                _ByPosition(module, keywords), tuple(example(_EXAMPLE_ROWS)), check_trace=False
            )
            whole = io.BytesIO()
            torch.jit.save(torch.jit.freeze(traced.eval()), whole)
    except Exception as error:  # torch raises whatever it likes
        raise ExportError(
            f"--format=torchscript: the model cannot be traced ({said(error)}): take --format=onnx"
        ) from error
    _save_without_sources(whole, file)


def _save_without_sources(whole: io.BytesIO, file: Path) -> None:
    """Save an archive of torch without its debugging parts: they hold paths of this machine, of each call."""
    with zipfile.ZipFile(whole) as archive, zipfile.ZipFile(file, "w") as saved:
        for part in archive.infolist():
            if not part.filename.endswith(".debug_pkl"):
                saved.writestr(part, archive.read(part))


def load(file: Path) -> Callable[..., Sequence[torch.Tensor]]:
    """Return what a file of `write` computes on the CPU: tensors by position, outputs in their order."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        module = torch.jit.load(str(file), map_location="cpu")

    def forward(*tensors: torch.Tensor) -> Sequence[torch.Tensor]:
        output = module(*tensors)
        return (output,) if isinstance(output, torch.Tensor) else output

    return forward


def gpu_problem(file: Path) -> str | None:
    """Return why a file computes on the CPU alone, as the end of a sentence; None: nothing says so."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        graph: Any = torch.jit.load(str(file), map_location="cpu").inlined_graph
    devices = [node for node in graph.findAllNodes("prim::Constant") if str(node.output().type()) == "Device"]
    return "the trace makes tensors on the CPU, by name" if devices else None
