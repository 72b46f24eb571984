"""Loads, checks and runs a PyTorch model. Imports no Beam: the endpoint container runs this code too."""

from __future__ import annotations

import hashlib
import importlib
import logging
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipeline.errors import InferenceError, ModelError
from pipeline.input_spec import Inputs, InputSpec

_LOGGER = logging.getLogger(__name__)

# What a loaded module is called with, and what it gives back: tensors with the batch first.
Forward = Callable[..., Any]


class Model:
    """A loaded model on the CPU, checked to take batches of the given inputs.

    Attributes:
        model_id: file name and the first 12 hexadecimal digits of the file's SHA-256, so that a result
            names exactly the weights that made it.
    """

    def __init__(self, forward: Forward, spec: InputSpec, model_id: str) -> None:
        self._forward = forward
        self._spec = spec
        self.model_id = model_id

    def __str__(self) -> str:
        return f"model {self.model_id}"

    def predict(self, rows: list[Inputs]) -> list[Any]:
        """One prediction for each row, in the same order.

        A prediction is a numpy scalar or array, or a dict of them where the model returns named outputs.

        Raises:
            InferenceError: the model returned something else than one row for each request.
            Exception: whatever the model raised.
        """
        batch = self._spec.stack(rows)
        arrays = batch if isinstance(batch, dict) else {"": batch}
        tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
        with torch.inference_mode():
            output = self._forward(**tensors) if self._spec.named else self._forward(tensors[""])
        return _split_rows(output, len(rows))


def load(
    path: str,
    spec: InputSpec,
    *,
    model_class: str | None = None,
    model_params: Mapping[str, Any] | None = None,
    max_batch_size: int = 1,
) -> Model:
    """Loads `path` and tries it on zeros, in the smallest and the largest batch.

    Args:
        path: a torch.export file (.pt2), a TorchScript file, or a state_dict (then `model_class` is needed).
        spec: the model's inputs.
        model_class: `module:Class` of a torch.nn.Module, for a state_dict.
        model_params: keyword arguments of that class.
        max_batch_size: rows of the largest batch that the model must take.

    Raises:
        ModelError: the file is missing, damaged, of another kind, or does not take such inputs.
    """
    file = Path(path)
    if not file.is_file():
        raise ModelError(f"--model_path: there is no file {path}")
    kind = _kind_of(file)
    if model_class is not None:
        forward = _from_state_dict(path, model_class, model_params or {})
    elif kind == "export":
        forward = _from_export(path, spec, max_batch_size)
    elif kind == "torchscript":
        forward = _from_torchscript(path)
    else:
        raise ModelError(
            f"--model_path: {path} is neither a torch.export (.pt2) nor a TorchScript file; "
            "if it is a state_dict, name its class by --model_class=module:Class"
        )
    digest = hashlib.sha256(file.read_bytes()).hexdigest()[:12]
    model = Model(forward, spec, f"{file.name}@{digest}")
    _check(model, path, spec, max_batch_size)
    return model


def _kind_of(file: Path) -> str:
    """`export`, `torchscript` or `other`, by the names inside the archive: an extension proves nothing."""
    try:
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile:
        return "other"
    parts = [name.split("/", 1)[-1] for name in names]
    if "archive_format" in parts or any(name.startswith("models/") for name in parts):
        return "export"
    if "constants.pkl" in parts and any(name.startswith("code/") for name in parts):
        return "torchscript"
    return "other"


def _from_export(path: str, spec: InputSpec, max_batch_size: int) -> Forward:
    try:
        program = torch.export.load(path)
    except Exception as error:
        raise ModelError(f"--model_path: {path} cannot be loaded by torch.export: {error}") from error
    user_inputs = program.graph_signature.user_inputs
    shapes = {
        node.name: tuple(node.meta["val"].shape)
        for node in program.graph.nodes
        if node.op == "placeholder" and node.name in user_inputs
    }
    if len(shapes) != len(spec.tensors):
        raise ModelError(
            f"--model_path: {path} takes {len(shapes)} inputs ({', '.join(shapes)}), "
            f"--input_shape names {len(spec.tensors)}"
        )
    for name, shape in shapes.items():
        if not shape or isinstance(shape[0], int):
            raise ModelError(
                f"--model_path: {path} was exported for a fixed batch (input {name} has shape "
                f"{list(shape)}): export it with "
                f"dynamic_shapes={{{name!r}: {{0: torch.export.Dim('batch')}}}}"
            )
        limits = program.range_constraints.get(shape[0].node.expr)
        if limits is not None and limits.upper < max_batch_size:
            raise ModelError(
                f"--model_path: {path} was exported for at most {limits.upper} rows, "
                f"--max_batch_size is {max_batch_size}"
            )
    return program.module()


def _from_torchscript(path: str) -> Forward:
    _LOGGER.warning(
        "%s is TorchScript, which PyTorch has deprecated: export it anew by torch.export.save (.pt2)", path
    )
    try:
        return torch.jit.load(path, map_location="cpu").eval()
    except Exception as error:
        raise ModelError(f"--model_path: {path} cannot be loaded by torch.jit: {error}") from error


def _from_state_dict(path: str, model_class: str, params: Mapping[str, Any]) -> Forward:
    module_name, _, class_name = model_class.partition(":")
    try:
        cls = getattr(importlib.import_module(module_name), class_name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ModelError(f"--model_class: cannot import {model_class!r}: {error}") from error
    try:
        module = cls(**params)
    except Exception as error:
        raise ModelError(f"--model_params: {class_name}({dict(params)}) failed: {error}") from error
    if not isinstance(module, torch.nn.Module):
        raise ModelError(f"--model_class: {model_class} is not a torch.nn.Module")
    try:
        # weights_only: a pickle that runs code is refused.
        state = torch.load(path, map_location="cpu", weights_only=True)
        module.load_state_dict(state)
    except Exception as error:
        raise ModelError(f"--model_path: {path} is not a state_dict of {model_class}: {error}") from error
    return module.eval()


def _check(model: Model, path: str, spec: InputSpec, max_batch_size: int) -> None:
    for rows in sorted({1, min(2, max_batch_size), max_batch_size}):
        try:
            model.predict([spec.zeros()] * rows)
        except Exception as error:
            raise ModelError(
                f"--model_path: {path} fails on {rows} rows of zeros, each {spec.example()} "
                f"(--input_shape): {error}"
            ) from error


def _split_rows(output: Any, rows: int) -> list[Any]:
    if isinstance(output, Mapping):
        columns = {name: _split_rows(value, rows) for name, value in output.items()}
        return [{name: column[i] for name, column in columns.items()} for i in range(rows)]
    if not isinstance(output, torch.Tensor):
        raise InferenceError(
            f"the model returned {type(output).__name__}: expected a tensor or a dict of them"
        )
    if output.ndim == 0 or output.shape[0] != rows:
        raise InferenceError(f"the model returned shape {list(output.shape)} for {rows} requests")
    # One copy for the whole batch; rows of a C-contiguous array are what orjson can write.
    if output.dtype in (torch.bfloat16, torch.float16):
        output = output.float()
    return list(np.ascontiguousarray(output.cpu().numpy()))
