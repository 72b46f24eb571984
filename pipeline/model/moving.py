"""Moves a model's weights to its device, cast before, with tied ones still tied."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

import torch
from torch.export.passes import move_to_device_pass

# A storage's address, the type of its numbers, and the type that they are cast to.
_Key = tuple[int, torch.dtype, torch.dtype]


def move_program(
    program: torch.export.ExportedProgram, device: torch.device, dtype: torch.dtype | None
) -> torch.export.ExportedProgram:
    """Return an exported program whose weights, constants and new tensors are on `device`.

    Weights are cast where they are, and move in the smaller type: blocks of the larger one would stay in the
    device's allocator, on a stream that no batch runs on.

    Args:
        program: The program; its weights are replaced.
        device: Where it is to run.
        dtype: The type that floating weights are cast to; None: as they are. Constants stay as they are.
    """
    # torch's own pass moves each tensor for itself, and so doubles the tied ones.
    moved: dict[_Key, torch.Tensor] = {}
    _move_tensors(program.state_dict, moved, device, dtype)
    _move_tensors(program.constants, moved, device, None)
    # Even if it is the CPU: the file may have been written on a machine with a GPU.
    return move_to_device_pass(program, device)


def move_module(module: torch.nn.Module, device: torch.device, dtype: torch.dtype | None) -> torch.nn.Module:
    """Return a module whose weights were cast where they are and then moved to `device`."""
    return module.to(dtype=dtype).to(device=device)


def _move_tensors(
    tensors: MutableMapping[str, Any],
    moved: dict[_Key, torch.Tensor],
    device: torch.device,
    dtype: torch.dtype | None,
) -> None:
    for name, tensor in tensors.items():
        if not isinstance(tensor, torch.Tensor):
            continue
        target = dtype if dtype is not None and tensor.is_floating_point() else tensor.dtype
        if tensor.device == device and tensor.dtype == target:
            continue
        key = (tensor.untyped_storage().data_ptr(), tensor.dtype, target)
        if key not in moved:
            moved[key] = _whole_storage(tensor).to(dtype=target).to(device=device)
        view = moved[key].as_strided(tensor.shape, tensor.stride(), tensor.storage_offset())
        if isinstance(tensor, torch.nn.Parameter):
            tensors[name] = torch.nn.Parameter(view, tensor.requires_grad)
        else:
            tensors[name] = view


def _whole_storage(tensor: torch.Tensor) -> torch.Tensor:
    """Return all numbers of a tensor's storage, of which the tensor, and others, may be views."""
    storage = tensor.untyped_storage()
    return tensor.detach().as_strided((storage.nbytes() // tensor.element_size(),), (1,), 0)
