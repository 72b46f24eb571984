"""Checks the text of an exported program (models/model.json) before torch makes Python code of it.

torch writes the program's names into the source of a function and runs that, evaluates its expressions, and
looks its operators up by name. So each key of the JSON must be one that torch writes, and have a value of the
kind that torch gives it.
"""

from __future__ import annotations

import json
import keyword
import re
from collections.abc import Callable, Mapping
from typing import Any

from pipeline.model.files import expressions, operators
from pipeline.model.files.archive import RefusedPartError

_PART = "models/model.json"

# Below the depth that Python's own recursion allows: a graph within a graph takes 8 levels.
_MOST_DEPTH = 200

_NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)
# Of a parameter or a submodule. torch writes it between double quotes into the function's source.
_PATH = re.compile(r"[\w.\-/:+@ ()\[\],=]*")
_DEVICE = re.compile(r"[a-z]+")

_SPEC_TYPES = frozenset(
    [
        "builtins.dict",
        "builtins.list",
        "builtins.tuple",
        "collections.OrderedDict",
        "torch.fx.immutable_collections.immutable_dict",
        "torch.fx.immutable_collections.immutable_list",
    ]
)

Check = Callable[[Any], bool]


def check(content: bytes) -> None:
    """Check the program in models/model.json.

    Raises:
        RefusedPartError: It holds what torch.export does not write, or an operator that does more than
            compute.
    """
    program = parse(content, _PART)
    if not isinstance(program, dict):
        raise RefusedPartError(_PART, "is no JSON object")
    _walk(program, 0)


def parse(content: bytes, part: str) -> Any:
    """Return what JSON says, as torch reads it.

    Raises:
        RefusedPartError: It is no JSON, or nested too deeply.
    """
    try:
        return json.loads(content.decode())
    except (ValueError, RecursionError) as error:
        raise RefusedPartError(part, f"is damaged: {_cut(str(error))}") from None


def is_path(name: Any) -> bool:
    """Return whether it may be the name of a parameter, a buffer or a submodule."""
    return isinstance(name, str) and _PATH.fullmatch(name) is not None


def is_tensor_meta(value: Any) -> bool:
    """Return whether it describes a tensor, in words that torch writes.

    Raises:
        RefusedPartError: It does not, and the message says why.
    """
    if not isinstance(value, dict):
        return False
    _walk(value, 0)
    return True


def _walk(value: Any, depth: int) -> None:
    if depth > _MOST_DEPTH:
        raise RefusedPartError(_PART, f"is nested deeper than {_MOST_DEPTH} levels")
    if isinstance(value, list):
        for each in value:
            _walk(each, depth + 1)
    elif isinstance(value, dict):
        for key, each in value.items():
            _check_item(key, each, depth)
    elif not _is_scalar(value):
        # Of a list; what stands under a key is checked by its key.
        raise RefusedPartError(_PART, f"holds {_cut(repr(value))} in a list that torch writes otherwise")


def _check_item(key: str, value: Any, depth: int) -> None:
    allowed = _VALUES.get(key)
    if allowed is not None:
        if not allowed(value):
            raise RefusedPartError(
                _PART, f"holds {_MEANINGS.get(key, key)} {_cut(repr(value))}, which is {_WHY}"
            )
    elif key in _BY_NAME:
        if not isinstance(value, dict) or not all(map(_BY_NAME[key], value)):
            raise RefusedPartError(_PART, f"holds {key} under names that torch does not give")
        for each in value.values():
            _walk(each, depth + 1)
    elif key in _NODES:
        if not isinstance(value, dict | list | None):
            raise RefusedPartError(_PART, f"holds {key} {_cut(repr(value))}, which is {_WHY}")
        if value is not None:
            _walk(value, depth + 1)
    else:
        raise RefusedPartError(_PART, f"holds {_cut(key)}, which is {_WHY}")


_WHY = "not among what is loaded"


def _cut(text: str) -> str:
    return text if len(text) <= 200 else text[:200] + "…"


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and _NAME.fullmatch(value) is not None and not keyword.iskeyword(value)


def _is_optional_name(value: Any) -> bool:
    return value is None or value == "" or _is_name(value)


def _is_scalar(value: Any) -> bool:
    # JSON has no infinity and no NaN: torch writes words.
    return value is None or isinstance(value, bool | int | float) or value in ("Infinity", "-Infinity", "NaN")


def _is_scalars(value: Any) -> bool:
    if isinstance(value, list):
        return all(map(_is_scalar, value)) or all(
            isinstance(e, list) and all(map(_is_scalar, e)) for e in value
        )
    return _is_scalar(value)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


def _is_optional_names(value: Any) -> bool:
    return value is None or (isinstance(value, list) and all(map(_is_name, value)))


def _is_metadata(value: Any) -> bool:
    # Notes for people: where a node came from. Of these, torch runs nothing.
    return isinstance(value, dict) and all(map(_is_text, value.values()))


def _is_input_spec(value: Any) -> bool:
    # Its names become those of a function's parameters.
    return _is_spec(value, _is_name)


def _is_output_spec(value: Any) -> bool:
    return _is_spec(value, _is_text)


def _is_spec(value: Any, is_key: Check) -> bool:
    if value == "":
        return True
    try:
        protocol, spec = json.loads(value)
        return protocol == 1 and _is_spec_node(spec, is_key)
    except (TypeError, ValueError, RecursionError):
        return False


def _is_spec_node(spec: Any, is_key: Check) -> bool:
    if not isinstance(spec, dict) or set(spec) != {"type", "context", "children_spec"}:
        return False
    kind, context, children = spec["type"], spec["context"], spec["children_spec"]
    if not isinstance(children, list) or not all(_is_spec_node(each, is_key) for each in children):
        return False
    if kind is None:
        return context is None and not children
    if kind == "collections.namedtuple":
        # The name of a class that is registered; it is looked up, never imported.
        return isinstance(context, str)
    if kind not in _SPEC_TYPES or not isinstance(context, str):
        return False
    names = json.loads(context)
    return names is None or (
        isinstance(names, list) and len(names) == len(children) and all(map(is_key, names))
    )


def _all(check: Check, *keys: str) -> dict[str, Check]:
    return dict.fromkeys(keys, check)


# What may stand under each key, at any depth.
_VALUES: Mapping[str, Check] = {
    **_all(lambda value: isinstance(value, str) and operators.is_allowed(value), "target", "as_operator"),
    **_all(lambda value: isinstance(value, str) and expressions.is_allowed(value), "expr_str"),
    **_all(_is_optional_name, "name", "as_name"),
    **_all(is_path, "fqn", "parameter_name", "buffer_name", "tensor_constant_name", "user_input_name"),
    **_all(_is_scalars, "as_none", "as_int", "as_ints", "as_float", "as_floats", "as_bool", "as_bools"),
    **_all(_is_scalars, "as_int_lists", "as_float_lists", "as_scalar_type", "as_memory_format", "as_layout"),
    **_all(_is_scalars, "dtype", "layout", "requires_grad", "index", "real", "imag", "kind", "persistent"),
    **_all(_is_scalars, "min_val", "max_val", "major", "minor"),
    **_all(_is_scalars, "is_single_tensor_return", "is_hop_single_tensor_return"),
    **_all(_is_text, "as_string", "torch_version"),
    # The guards are not run: see `model_files`.
    **_all(_is_texts, "as_strings", "guards_code", "verifiers", "field_names"),
    **_all(lambda value: isinstance(value, str) and _DEVICE.fullmatch(value) is not None, "type"),
    "forward_arg_names": _is_optional_names,
    "in_spec": _is_input_spec,
    "out_spec": _is_output_spec,
    "metadata": _is_metadata,
    # Objects of other kinds than tensors: a file could bring any.
    "custom_obj_values": lambda value: value == {},
}

_MEANINGS: Mapping[str, str] = {
    "target": "the operator",
    "as_operator": "the operator",
    "expr_str": "the symbolic expression",
    "name": "the name",
    "as_name": "the name",
    "custom_obj_values": "objects",
}

# Objects that are keyed by names of their own, and what these must be.
_BY_NAME: Mapping[str, Check] = {
    **_all(_is_name, "tensor_values", "sym_int_values", "sym_float_values", "sym_bool_values"),
    "range_constraints": lambda name: isinstance(name, str) and expressions.is_symbol(name),
    "opset_version": _is_text,
    "treespec_namedtuple_fields": _is_text,
    "as_string_to_argument": _is_text,
}

# Objects and lists that are made of the keys above.
_NODES = frozenset(
    [
        "arg",
        "as_complex",
        "as_device",
        "as_expr",
        "as_graph",
        "as_nested_tensors",
        "as_optional_tensor",
        "as_optional_tensors",
        "as_sym_bool",
        "as_sym_bools",
        "as_sym_float",
        "as_sym_floats",
        "as_sym_int",
        "as_sym_ints",
        "as_tensor",
        "as_tensors",
        "buffer",
        "buffer_mutation",
        "constant_input",
        "device",
        "graph",
        "graph_module",
        "hint",
        "input_specs",
        "inputs",
        "module_call_graph",
        "nodes",
        "output_specs",
        "outputs",
        "parameter",
        "parameter_mutation",
        "schema_version",
        "signature",
        "sizes",
        "storage_offset",
        "strides",
        "tensor_constant",
        "token",
        "user_input",
        "user_input_mutation",
        "user_output",
        "value",
    ]
)
