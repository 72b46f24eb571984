"""How a module takes its inputs: by keyword or by position."""

from __future__ import annotations

import inspect

import torch
from torch.utils import _pytree as pytree

from pipeline.request.input_spec import InputSpec


def keywords(module: torch.nn.Module, spec: InputSpec) -> tuple[str, ...]:
    """Return the names that a module's inputs are passed by, in the order of `spec`; none: by position.

    Several inputs are passed by the names in `spec`. A single one cannot be mixed up with another: it is
    passed as the module takes it, whatever the two call it.
    """
    if len(spec.tensors) > 1:
        return tuple(tensor.name for tensor in spec.tensors)
    name = spec.tensors[0].name
    exported = getattr(module, "_in_spec", None)
    if exported is not None:
        # An export takes only what its examples were given by.
        _, named = pytree.tree_unflatten([None] * exported.num_leaves, exported)
        return tuple(named)
    return (name,) if spec.named and name in _parameters(module) else ()


def _parameters(module: torch.nn.Module) -> set[str]:
    if isinstance(module, torch.jit.ScriptModule):
        return {argument.name for argument in module.forward.schema.arguments}
    return set(inspect.signature(module.forward).parameters)
