"""The operators that a model file may call: those that compute, and touch nothing but tensors."""

from __future__ import annotations

import re

import torch

# torch's own tensor operators, and those of its decompositions and quantisation; torchvision's, where it is
# installed and imported.
_NAMESPACES = ("aten", "prims", "quantized_decomposed", "torchvision")

# The parameters by which these operators take a text: none of them names a file. By this list
# aten::from_file and aten::save, torchvision::read_file and whatever may come are out.
_TEXT_PARAMETERS = frozenset(
    [
        "UPLO",
        "algorithm",
        "approximate",
        "assert_msg",
        "driver",
        "equation",
        "indexing",
        "interpolation",
        "mode",
        "norm",
        "ord",
        "p",
        "pad_mode",
        "padding",
        "padding_side",
        "reduce",
        "rounding_mode",
        "side",
    ]
)
# What an operator takes besides texts: tensors, numbers, and how a tensor is laid out. Not a storage, a
# stream, an object.
_TYPES = re.compile(r"(Optional\[|List\[)*(Tensor|int|float|bool|complex|number|Device|Generator)\]*")

_OVERLOAD = re.compile(rf"torch\.ops\.({'|'.join(_NAMESPACES)})\.(\w+)\.(\w+)", re.ASCII)

# Control flow and modes, as torch.export writes them.
_HIGHER_ORDER = frozenset(
    f"torch.ops.higher_order.{name}"
    for name in (
        "associative_scan",
        "cond",
        "map",
        "map_impl",
        "scan",
        "while_loop",
        "wrap_with_autocast",
        "wrap_with_set_grad_enabled",
    )
)
# torch.vmap, as torch.export writes it.
_VMAP = frozenset(
    f"torch._functorch.predispatch.{name}"
    for name in (
        "_add_batch_dim",
        "_remove_batch_dim",
        "_vmap_decrement_nesting",
        "_vmap_increment_nesting",
        "lazy_load_decompositions",
    )
)
# Arithmetic on sizes.
_ON_SIZES = frozenset(
    [
        f"_operator.{name}"
        for name in [
            "add",
            "and_",
            "eq",
            "floordiv",
            "ge",
            "getitem",
            "gt",
            "le",
            "lshift",
            "lt",
            "mod",
            "mul",
            "ne",
            "neg",
        ]
    ]
    + [f"_operator.{name}" for name in ["or_", "pos", "pow", "rshift", "sub", "truediv"]]
    + [f"math.{name}" for name in ["ceil", "floor", "sqrt", "trunc"]]
    + [f"torch.sym_{name}" for name in ["float", "int", "ite", "max", "min", "not", "sqrt", "sum"]]
)


def is_allowed(target: str) -> bool:
    """Return whether an exported program may call `target`, such as torch.ops.aten.add.Tensor."""
    if target in _HIGHER_ORDER or target in _VMAP or target in _ON_SIZES:
        return True
    name = _OVERLOAD.fullmatch(target)
    if name is None:
        return False
    namespace, operator, overload = name.groups()
    try:
        schema = getattr(getattr(getattr(torch.ops, namespace), operator), overload)._schema
    except (AttributeError, RuntimeError):
        return False  # of a package that is not imported, or of another torch
    return all(_takes(argument) for argument in schema.arguments)


def _takes(argument: torch._C.Argument) -> bool:
    kind = str(argument.type)
    if kind in ("str", "Optional[str]"):
        return argument.name in _TEXT_PARAMETERS
    return _TYPES.fullmatch(kind) is not None
