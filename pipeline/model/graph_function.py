"""Makes a plain Python function of an exported program: its operators, one a line, with weights at hand."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch.utils import _pytree as pytree

from pipeline.model.operator_functions import FUNCTIONS


class NoFunctionError(Exception):
    """No plain function can be made of a program; the message says why, as the end of a sentence."""


def graph_function(module: torch.nn.Module) -> Callable[..., Any]:
    """Return a function that does at a call what `module`, made of an exported program, does.

    It calls the same operators on the same tensors in the same order. What it does without is torch's way to
    them: the structure of the inputs, a search through modules for each weight and through namespaces for
    each operator. `python -m benchmarks.model_calls` has what that costs.

    The function holds the module's tensors themselves, and not the module. It takes its inputs by the names
    or positions that the module takes them by.

    Args:
        module: What `torch.export.ExportedProgram.module` returned. What torch hooks to it is left out: the
            checks of inputs' sizes (see `drop_input_checks`), and a preparation for inputs that are modules.

    Raises:
        NoFunctionError: The module is of another kind, changes its buffers, calls a module of its own, or has
            an input that is not one tensor.
    """
    if not isinstance(module, torch.fx.GraphModule) or getattr(module, "_in_spec", None) is None:
        raise NoFunctionError("it is not an exported program")
    return _Writer(module).function()


class _Writer:
    """Writes a function's text, in which each tensor, operator and constant is a global of the function.

    So it has no names that the file brings, but for those of inputs and of operators' parameters.
    """

    def __init__(self, module: torch.fx.GraphModule) -> None:
        self._module = module
        self._parameters, inputs = _inputs(module)
        self._names: dict[torch.fx.Node, str] = dict(
            zip(module.graph.find_nodes(op="placeholder"), inputs, strict=True)
        )
        self._globals: dict[str, Any] = {}
        self._count = 0

    def function(self) -> Callable[..., Any]:
        """Return the function.

        Raises:
            NoFunctionError: See `graph_function`.
        """
        last_used = self._last_used()
        lines = []
        for node in self._module.graph.nodes:
            if node.op == "get_attr":
                self._names[node] = self._hold(operator.attrgetter(node.target)(self._module))
            elif node.op == "call_function":
                call = self._call(node)
                self._names[node] = self._new_name()
                lines.append(f"{self._names[node]} = {call}")
                # Memory is free again as soon as nothing needs it, as torch's own text has it.
                lines.extend(f"{self._names[done]} = None" for done in last_used.get(node, ()))
            elif node.op == "output":
                lines.append(f"return {self._structure(node.args[0])}")
            elif node.op != "placeholder":
                raise NoFunctionError(f"it calls a module of its own ({node.target})")
        text = f"def forward({', '.join(self._parameters)}):\n    " + "\n    ".join(lines)
        exec(compile(text, "<exported program>", "exec"), self._globals)
        # Not among its own globals, or a replaced model would stay until a full garbage collection.
        function: Callable[..., Any] = self._globals.pop("forward")
        return function

    def _last_used(self) -> dict[torch.fx.Node, list[torch.fx.Node]]:
        """Return by node the inputs and results that none after it uses; its own, where none uses that."""
        last_used: dict[torch.fx.Node, list[torch.fx.Node]] = {}
        seen: set[torch.fx.Node] = set()
        for node in reversed(self._module.graph.nodes):
            for used in (node, *node.all_input_nodes):
                if used not in seen and used.op in ("call_function", "placeholder"):
                    last_used.setdefault(node, []).append(used)
                seen.add(used)
        return last_used

    def _call(self, node: torch.fx.Node) -> str:
        _check_writes(node)
        # Control flow, too, is a function, of tensors and modules, and chooses anew at each call.
        function = FUNCTIONS.get(node.target, node.target)
        operands = [self._operand(each) for each in node.args]
        operands += [f"{name}={self._operand(each)}" for name, each in node.kwargs.items()]
        return f"{self._hold(function)}({', '.join(operands)})"

    def _operand(self, value: Any) -> str:
        if isinstance(value, torch.fx.Node):
            return self._names[value]
        if isinstance(value, list):
            return f"[{', '.join(map(self._operand, value))}]"
        if isinstance(value, tuple):
            return f"({''.join(f'{self._operand(each)}, ' for each in value)})"
        if isinstance(value, dict | slice):
            raise NoFunctionError(f"an operator takes a {type(value).__name__}")
        return self._hold(value)

    def _structure(self, outputs: Any) -> str:
        """Return the text of what the program returns, made of its flat outputs."""
        spec = self._module._out_spec
        texts = [self._operand(each) for each in outputs]
        if spec.is_leaf():
            return texts[0]
        if spec.type is dict and _has_leaves(spec):
            pairs = zip(map(self._hold, spec.context), texts, strict=True)
            return f"{{{', '.join(f'{name}: {text}' for name, text in pairs)}}}"
        return f"{self._hold(pytree.tree_unflatten)}([{', '.join(texts)}], {self._hold(spec)})"

    def _hold(self, value: Any) -> str:
        name = self._new_name()
        self._globals[name] = value
        return name

    def _new_name(self) -> str:
        self._count += 1
        name = f"_{self._count}"
        # An input may have any name.
        return name if name not in self._parameters else self._new_name()


def _inputs(module: torch.fx.GraphModule) -> tuple[list[str], list[str]]:
    """Return the parameters of the module's `forward`, and the same in the order of the graph's inputs."""
    parameters = list(module.graph._codegen.pytree_info.orig_args)
    by_position, by_name = module._in_spec.children()
    if not _has_leaves(by_position) or not _has_leaves(by_name):
        raise NoFunctionError("an input is not one tensor")
    inputs = [*parameters[: by_position.num_children], *by_name.context]
    if sorted(inputs) != sorted(parameters):
        raise NoFunctionError(f"it names its inputs {inputs} and {parameters}")
    return parameters, inputs


def _has_leaves(spec: pytree.TreeSpec) -> bool:
    return all(spec.child(index).is_leaf() for index in range(spec.num_children))


def _check_writes(node: torch.fx.Node) -> None:
    """Refuse a program with a memory, whose second answer to a batch need not be its first."""
    if not isinstance(node.target, torch._ops.OpOverload):
        return
    for argument, value in zip(node.target._schema.arguments, node.args, strict=False):
        written = argument.alias_info is not None and argument.alias_info.is_write
        if written and isinstance(value, torch.fx.Node) and value.op == "get_attr":
            raise NoFunctionError(f"it changes its buffer {value.target}")
