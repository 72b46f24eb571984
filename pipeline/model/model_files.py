"""Reads a model file of any kind into a torch module."""

from __future__ import annotations

import io
import json
import logging
import pickle
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from torch.export.passes import move_to_device_pass

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
    label: str,
) -> torch.nn.Module:
    """Return the model in a torch.export file (.pt2), a TorchScript file, or a state_dict with its class.

    Args:
        path: The file, on this machine.
        spec: The model's inputs.
        model_class: `module:Class` of a torch.nn.Module, for a state_dict.
        model_params: Keyword arguments of that class.
        max_batch_size: Rows of the largest batch that the model must take.
        device: Where the model is to run; a module of `model_class` is still on the CPU.
        label: How messages begin: the flag and the path.

    Raises:
        ModelError: The file is damaged, of another kind, would run code, or does not fit.
    """
    kind = _kind_of(Path(path))
    if kind == "damaged":
        raise _damaged(label)
    if model_class is not None:
        return _from_state_dict(path, model_class, model_params, label)
    if kind == "export":
        return _from_export(path, spec, max_batch_size, device, label)
    if kind == "torchscript":
        return _from_torchscript(path, device, label)
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
    path: str, spec: InputSpec, max_batch_size: int, device: torch.device, label: str
) -> torch.nn.Module:
    try:
        _refuse_code(path, label)
        program = torch.export.load(path)
    except ModelError:
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
        # Even if it is the CPU: the file may have been written on a machine with a GPU.
        module = move_to_device_pass(program, device).module()
    except Exception as error:
        raise ModelError(f"{label} cannot be moved to {device}: {error}") from error
    # The module refers to itself by its graph and by bound methods. Without this, a replaced model would stay
    # in memory until a full garbage collection, which stops all threads for some 300 ms.
    del module.train, module.eval
    module.graph.owning_module = None
    return module


def _refuse_code(path: str, label: str) -> None:
    """Refuse an export that holds pickles that could run code: torch.export.load would load any.

    Raises:
        ModelError: There is one.
    """
    with zipfile.ZipFile(path) as archive:
        for name in _pickles(archive):
            try:
                torch.load(io.BytesIO(archive.read(name)), map_location="cpu", weights_only=True)
            except Exception as error:
                raise ModelError(
                    f"{label} is refused: its part {name} holds more than tensors, and loading it could run "
                    "any code. Export the model anew, without such constants or example inputs: "
                    f"{_refused(error)}"
                ) from error


def _pickles(archive: zipfile.ZipFile) -> Iterator[str]:
    """Yield the names of an export archive's parts that torch would unpickle."""
    for name in archive.namelist():
        path = PurePosixPath(name)
        # `serialized_` parts are of the older format, which torch falls back to.
        if path.suffix == ".pt" or path.name.startswith("serialized_"):
            yield name
        elif path.name.endswith(("weights_config.json", "constants_config.json")):
            for part in json.loads(archive.read(name))["config"].values():
                # Custom objects are read by TorchScript's unpickler, which knows its own types only.
                if part["path_name"].startswith("opaque_obj_") or (
                    part["use_pickle"] and not part["path_name"].startswith("custom_obj_")
                ):
                    yield str(path.parent / part["path_name"])


def _from_torchscript(path: str, device: torch.device, label: str) -> torch.nn.Module:
    _LOGGER.warning(
        "%s is TorchScript, which PyTorch has deprecated: export it anew by torch.export.save (.pt2)", path
    )
    try:
        return torch.jit.load(path, map_location=device).eval()
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
        # weights_only: a pickle that runs code is refused. A mapped file is copied into the module without a
        # second copy in memory; files written before torch 1.6 cannot be mapped.
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        raise ModelError(
            f"{label} is not a state_dict of {model_class}: {_refused(error)}. Nothing but tensors is "
            "loaded: save the model by torch.save(model.state_dict(), …)"
        ) from error
    except EOFError as error:
        raise _damaged(label) from error
    except Exception as error:
        raise ModelError(f"{label} cannot be loaded by torch.load: {error}") from error
    try:
        module.load_state_dict(state)
    except Exception as error:
        raise ModelError(f"{label} is not a state_dict of {model_class}: {error}") from error
    return module.eval()


def _damaged(label: str) -> ModelError:
    return ModelError(f"{label} is damaged: its end is missing. Copy the file again")


def _refused(error: Exception) -> str:
    """Return what torch's unpickler refuses, without its advice on how to have it accepted."""
    text = str(error).partition("WeightsUnpickler error:")[2] or str(error)
    return text.strip().partition(" Please ")[0].partition("\n")[0].removesuffix(".")
