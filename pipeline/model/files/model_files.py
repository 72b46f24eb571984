"""Reads a model file of any kind into a torch module."""

from __future__ import annotations

import logging
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from pipeline.model.files import export_check, state_dict, tensors_check, torchscript_check
from pipeline.model.files.archive import RefusedPartError
from pipeline.model.moving import move_program
from pipeline.process.user_modules import explain_hidden_module, import_user_module
from pipeline.request.errors import ModelError
from pipeline.request.input_spec import InputSpec

_LOGGER = logging.getLogger(__name__)


def read(
    path: str,
    spec: InputSpec,
    *,
    model_class: str | None,
    model_params: Mapping[str, Any],
    max_batch_size: int,
    device: torch.device,
    dtype: torch.dtype | None = None,
    label: str,
) -> torch.nn.Module:
    """Return the model in a torch.export file (.pt2), a TorchScript file, or a state_dict with its class.

    Only what passes the checks of `export_check`, `torchscript_check` and `tensors_check` reaches torch.

    Args:
        path: The file, on this machine; nobody else may be able to write it (`private_copy`).
        spec: The model's inputs.
        model_class: `module:Class` of a torch.nn.Module, for a state_dict.
        model_params: Keyword arguments of that class.
        max_batch_size: Rows of the largest batch that the model must take.
        device: Where the model is to run; a module of `model_class` is still on the CPU.
        dtype: The type that the weights of an export are cast to before they go there; None: as they are.
        label: How messages begin: the flag and the path.

    Raises:
        ModelError: The file is damaged, of another kind, would run code, or does not fit.
    """
    kind = _kind_of(Path(path))
    if kind == "damaged":
        raise _damaged(label)
    try:
        if model_class is not None:
            return _from_state_dict(path, model_class, model_params, label)
        if kind == "export":
            return _from_export(path, spec, max_batch_size, device, dtype, label)
        if kind == "torchscript":
            return _from_torchscript(path, device if dtype is None else torch.device("cpu"), label)
    except RefusedPartError as error:
        raise ModelError(f"{label} is refused: {error}") from error
    raise ModelError(
        f"{label} is neither a torch.export (.pt2) nor a TorchScript file; "
        "if it is a state_dict, name its class by --model_class=module:Class"
    )


def _kind_of(file: Path) -> str:
    """Return `export`, `torchscript`, `damaged` or `other` by the names inside: a suffix proves nothing."""
    try:
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile:
        with file.open("rb") as start:
            return "damaged" if start.read(2) in (b"", b"PK") else "other"
    parts = [name.split("/", 1)[-1] for name in names]
    if "archive_format" in parts or any(name.startswith("models/") for name in parts):
        return "export"
    if "constants.pkl" in parts and any(name.startswith("code/") for name in parts):
        return "torchscript"
    return "other"


def _from_export(
    path: str,
    spec: InputSpec,
    max_batch_size: int,
    device: torch.device,
    dtype: torch.dtype | None,
    label: str,
) -> torch.nn.Module:
    try:
        export_check.check(path)
        program = torch.export.load(path)
    except RefusedPartError:
        raise
    except Exception as error:
        raise ModelError(f"{label} cannot be loaded by torch.export: {error}") from error
    user_inputs = program.graph_signature.user_inputs
    shapes = {
        node.name: tuple(node.meta["val"].shape)
        for node in program.graph.nodes
        if node.op == "placeholder" and node.name in user_inputs
    }
    if len(shapes) != len(spec.tensors):
        raise ModelError(
            f"{label} takes {len(shapes)} inputs ({', '.join(shapes)}), "
            f"--input_shape names {len(spec.tensors)}"
        )
    for name, shape in shapes.items():
        if not shape or isinstance(shape[0], int):
            raise ModelError(
                f"{label} was exported for a fixed batch (input {name} has shape "
                f"{list(shape)}): export it with "
                f"dynamic_shapes={{{name!r}: {{0: torch.export.Dim('batch')}}}}"
            )
        limits = program.range_constraints.get(shape[0].node.expr)
        if limits is not None and limits.upper < max_batch_size:
            raise ModelError(
                f"{label} was exported for at most {limits.upper} rows, --max_batch_size is {max_batch_size}"
            )
    try:
        # Without the guards: torch would run their text, which the file brings, before each batch. What it
        # checks in their place (the dimensions' sizes), the inputs' specification holds; see `load`.
        module = move_program(program, device, dtype).module(check_guards=False)
    except Exception as error:
        raise ModelError(f"{label} cannot be moved to {device}: {error}") from error
    # The module refers to itself by its graph and by bound methods. Without this, a replaced model would stay
    # in memory until a full garbage collection, which stops all threads for some 300 ms.
    del module.train, module.eval
    module.graph.owning_module = None
    return module


def drop_input_checks(module: torch.nn.Module) -> None:
    """Take from an exported program the checks of its inputs' sizes, which torch makes at each call."""
    for key, hook in list(module._forward_pre_hooks.items()):
        if getattr(hook, "__name__", None) == "_check_input_constraints_pre_hook":
            del module._forward_pre_hooks[key]
            module._forward_pre_hooks_with_kwargs.pop(key, None)


def _from_torchscript(path: str, device: torch.device, label: str) -> torch.nn.Module:
    _LOGGER.warning(
        "%s is TorchScript, which PyTorch has deprecated: export it anew by torch.export.save (.pt2)", label
    )
    try:
        torchscript_check.check_file(path)
        module = torch.jit.load(path, map_location=device).eval()
        torchscript_check.check_operators(module)
        return module
    except RefusedPartError:
        raise
    except Exception as error:
        raise ModelError(f"{label} cannot be loaded by torch.jit: {error}") from error


def _from_state_dict(path: str, model_class: str, params: Mapping[str, Any], label: str) -> torch.nn.Module:
    module_name, _, class_name = model_class.partition(":")
    try:
        cls = getattr(import_user_module(module_name), class_name)
    except (ImportError, AttributeError, ValueError) as error:
        hidden = explain_hidden_module(module_name)
        raise ModelError(f"--model_class: cannot import {model_class!r}: {error}{hidden}") from error
    try:
        module = cls(**params)
    except Exception as error:
        raise ModelError(f"--model_params: {class_name}({dict(params)}) failed: {error}") from error
    if not isinstance(module, torch.nn.Module):
        raise ModelError(f"--model_class: {model_class} is not a torch.nn.Module")
    try:
        archived = zipfile.is_zipfile(path)
        if archived:
            tensors_check.check(path)
        # weights_only: a pickle that runs code is refused. A mapped file is copied into the module without a
        # second copy in memory; files written before torch 1.6 cannot be mapped.
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=archived)
    except RefusedPartError:
        raise
    except pickle.UnpicklingError as error:
        raise ModelError(
            f"{label} is not a state_dict of {model_class}: {tensors_check.describe_refusal(error)}. Nothing "
            "but tensors is loaded: save the model by torch.save(model.state_dict(), …)"
        ) from error
    except EOFError as error:
        raise _damaged(label) from error
    except Exception as error:
        raise ModelError(f"{label} cannot be loaded by torch.load: {error}") from error
    weights: Mapping[str, Any] | None = None
    try:
        weights, unwrapped = state_dict.find(state, module)
        if unwrapped:
            _LOGGER.info("%s: its state_dict is %s", label, unwrapped)
        module.load_state_dict(weights)
    except Exception as error:
        # torch's own text lists every name: 14 KB for an encoder.
        reason = state_dict.describe(weights, module) if weights is not None else ""
        raise ModelError(
            f"{label} is not a state_dict of {model_class}: {reason or state_dict.shortened(error)}\n"
            "Save it by torch.save(model.state_dict(), …), where model is that class, made with the same "
            "--model_params"
        ) from error
    return module.eval()


def _damaged(label: str) -> ModelError:
    return ModelError(f"{label} is damaged: its end is missing. Copy the file again")
