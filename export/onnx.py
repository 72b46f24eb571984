"""A model as ONNX, which Triton's ONNX Runtime backend runs."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from export.errors import ExportError
from pipeline.model.failure import said

PACKAGES = ("onnx", "onnxscript", "onnxruntime")
"""torch.onnx makes the file by the first two; the last is what checks it."""


def why_not() -> str | None:
    """Return what is missing here, and how to get it; None where nothing is."""
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if not missing:
        return None
    return (
        f"--format=onnx needs {', '.join(missing)}, which this Python has not: "
        f".venv/bin/python -m pip install {' '.join(missing)}, or uv pip install with the same; or take "
        "--format=torchscript"
    )


def write(
    program: torch.export.ExportedProgram, inputs: Sequence[str], outputs: Sequence[str], file: Path
) -> None:
    """Write a model as ONNX, with its weights in the one file.

    Args:
        program: The model; its first dimension is the batch.
        inputs: What its inputs are called, in their order.
        outputs: What its outputs are called, in their order.
        file: To be written.

    Raises:
        ExportError: It has an operator that ONNX has not.
    """
    try:
        with _quiet():
            torch.onnx.export(
                program,
                f=str(file),
                dynamo=True,
                input_names=list(inputs),
                output_names=list(outputs),
                external_data=False,
                verbose=False,
            )
    except Exception as error:  # torch raises whatever it likes
        raise ExportError(
            f"--format=onnx: torch.onnx cannot write this model ({said(error)}): take --format=torchscript"
        ) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Have torch.onnx keep its steps, and what it says of torchvision, to itself."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def load(file: Path) -> Callable[..., Sequence[torch.Tensor]]:
    """Return what a file computes by ONNX Runtime on the CPU: tensors by position, outputs in their order."""
    onnxruntime: Any = importlib.import_module("onnxruntime")
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_inputs()]

    def forward(*tensors: torch.Tensor) -> Sequence[torch.Tensor]:
        arrays = {name: tensor.numpy() for name, tensor in zip(names, tensors, strict=True)}
        return [torch.from_numpy(array) for array in session.run(None, arrays)]

    return forward
