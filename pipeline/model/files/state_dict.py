"""Finds a module's weights in a file of torch.save: a state_dict, or a training checkpoint around one."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch

# Put by torch.compile before the names of what it wraps, at any depth.
_COMPILED = "_orig_mod."
# Of names that a prefix is looked for in: module.model.encoder.
_MOST_PARTS = 4
# Of a message.
_MOST_NAMES = 3
_MOST_CHARACTERS = 100
_MOST_ERROR_CHARACTERS = 600


class StateDictError(Exception):
    """What a file holds is no state_dict of the module; the message says how it differs, in a line or two."""


def find(saved: Any, module: torch.nn.Module) -> tuple[Mapping[str, Any], str]:
    """Return the state_dict of `module` in `saved`, and in words what was unwrapped; empty: nothing was.

    Unwrapped are the field of a training checkpoint that holds it (whatever its name: `state_dict`,
    `model_state_dict`, …), and the prefix that a wrapper has put before all names (`module.` of
    DataParallel, `_orig_mod.` of torch.compile, the attribute's name in a Lightning module). The names that
    are left must be the module's own, all of them and no others.

    Raises:
        StateDictError: It holds none, or several.
    """
    wanted = module.state_dict().keys()
    if not isinstance(saved, Mapping):
        raise StateDictError(f"it holds one {type(saved).__name__}, not weights by name")
    state, prefix = _unprefixed(saved, wanted)
    if state is not None:
        return state, f"without {prefix!r} before its names" if prefix else ""
    fields = {name: field for name, field in saved.items() if isinstance(field, Mapping)}
    found = {name: _unprefixed(field, wanted) for name, field in fields.items()}
    fitting = {name: (state, prefix) for name, (state, prefix) in found.items() if state is not None}
    if len(fitting) > 1:
        raise StateDictError(f"it is a checkpoint with several: {_listed(list(fitting))}")
    for name, (state, prefix) in fitting.items():
        where = f"the field {_shown(name)} of a checkpoint"
        return state, f"{where}, without {prefix!r} before its names" if prefix else where
    tensors = [name for name, field in fields.items() if any(map(torch.is_tensor, field.values()))]
    if tensors and not any(map(torch.is_tensor, saved.values())):
        inner = {_shown(name): describe(fields[name], module) for name in tensors[:_MOST_NAMES]}
        raise StateDictError(
            "it is a checkpoint, and no field of it has the names of the class: "
            + "; ".join(f"{name}: {problem}" for name, problem in inner.items())
        )
    return saved, ""


def describe(state: Mapping[Any, Any], module: torch.nn.Module) -> str:
    """Return in a line how a state_dict differs from that of `module`; empty if not in names and shapes."""
    own = module.state_dict()
    differences = [
        _count("the file lacks", [name for name in own if name not in state]),
        _count("the class has no", [name for name in state if name not in own]),
        _count(
            "size mismatch for",
            [
                f"{name}: {list(state[name].shape)} in the file, {list(tensor.shape)} in the class"
                for name, tensor in own.items()
                if torch.is_tensor(tensor)
                and torch.is_tensor(state.get(name))
                and state[name].shape != tensor.shape
            ],
            quoted=False,
        ),
    ]
    return "; ".join(filter(None, differences))


def shortened(error: Exception) -> str:
    """Return the beginning of what torch says of a state_dict."""
    text = " ".join(str(error).split())
    return text if len(text) <= _MOST_ERROR_CHARACTERS else f"{text[:_MOST_ERROR_CHARACTERS]}…"


def _unprefixed(state: Mapping[Any, Any], wanted: Collection[str]) -> tuple[Mapping[str, Any] | None, str]:
    """Return a state_dict under the wanted names, and the prefix it had; None if more is wrong with it."""
    names = list(state)
    if not all(isinstance(name, str) for name in names):
        return None, ""
    for compiled in ("", _COMPILED):
        plain = [name.replace(compiled, "") for name in names] if compiled else names
        parts = plain[0].split(".")[:_MOST_PARTS] if plain else [""]
        for prefix in ("".join(f"{part}." for part in parts[:count]) for count in range(len(parts))):
            renamed = [name.removeprefix(prefix) for name in plain if name.startswith(prefix)]
            if len(renamed) == len(set(renamed)) == len(names) and set(renamed) == set(wanted):
                if renamed == names:
                    return state, ""
                return _renamed(state, dict(zip(names, renamed, strict=True)), prefix), prefix + compiled
    return None, ""


def _renamed(state: Mapping[str, Any], names: Mapping[str, str], prefix: str) -> Mapping[str, Any]:
    renamed: OrderedDict[str, Any] = OrderedDict((names[name], tensor) for name, tensor in state.items())
    # The versions of the modules, by which they read weights that were saved long ago.
    versions = getattr(state, "_metadata", {})
    plain = {f"{name}.".replace(_COMPILED, ""): version for name, version in versions.items()}
    inside = {
        name.removeprefix(prefix)[:-1]: version for name, version in plain.items() if name.startswith(prefix)
    }
    renamed._metadata = inside  # type: ignore[attr-defined]
    return renamed


def _count(what: str, names: Sequence[Any], *, quoted: bool = True) -> str:
    if not names:
        return ""
    return f"{what} {_listed(names, quoted=quoted)}"


def _listed(names: Sequence[Any], *, quoted: bool = True) -> str:
    shown = [_shown(name) if quoted else str(name)[:_MOST_CHARACTERS] for name in names[:_MOST_NAMES]]
    others = len(names) - len(shown)
    return ", ".join(shown) + (f" and {others:,} more" if others else "")


def _shown(name: Any) -> str:
    text = repr(name)
    return text if len(text) <= _MOST_CHARACTERS else f"{text[:_MOST_CHARACTERS]}…"
