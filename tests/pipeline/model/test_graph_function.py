from __future__ import annotations

import gc
import weakref
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import nn
from torch.utils import _pytree as pytree

from pipeline.model.files.model_files import drop_input_checks
from pipeline.model.graph_function import NoFunctionError, graph_function
from tests.pipeline.models import Layers, Named

BATCH = torch.export.Dim("batch")


def exported(
    module: nn.Module, *examples: Any, shapes: Any = None, named: dict[str, torch.Tensor] | None = None
) -> torch.nn.Module:
    """Return the module of an export with a free batch, as a model file's becomes it."""
    shapes = shapes or pytree.tree_map(lambda _: {0: BATCH}, (*examples, *(named or {}).values()))
    program = torch.export.export(module.eval(), examples, named, dynamic_shapes=shapes)
    made = program.module(check_guards=False)
    drop_input_checks(made)
    return made


class Calling(nn.Module):
    """A module that is a function."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, features: torch.Tensor) -> Any:
        return self.function(features)


class Counter(nn.Module):
    """Counts its calls, and adds their number."""

    calls: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        self.calls.add_(1)
        return features + self.calls


class Choosing(nn.Module):
    """Has control flow that depends on the values."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return torch.cond(features.sum() > 0, lambda x: x + 1, lambda x: x - 1, (features,))


class TestAnswers:
    @pytest.mark.parametrize(
        "function",
        [
            lambda x: x.reshape(x.shape[0], 3, -1).sum(2) / x.shape[0],
            lambda x: x + torch.arange(x.shape[0], device=x.device)[:, None] * (2 * x.shape[0] + 1),
            lambda x: torch.cat([x, x[:, :2]], dim=1)[:, 1::2],
            lambda x: torch.full((x.shape[0], 2), float("inf")) * x[:, :2],
            lambda x: x.to(torch.float64).clamp(max=0.5),
            lambda x: (x > 0) & (x < 1),
            lambda x: x.split([2, 4], dim=1)[1].argmax(1),
            lambda x: nn.functional.relu(x * 1, inplace=True),
            lambda x: x.mul_(2),
        ],
        ids=[
            "sizes",
            "arithmetic",
            "slices",
            "infinity",
            "dtype",
            "bool",
            "several",
            "in place",
            "own input",
        ],
    )
    @pytest.mark.parametrize("rows", [1, 2, 3, 7])
    def test_as_the_module(self, function: Callable[..., Any], rows: int) -> None:
        module = exported(Calling(function), torch.ones(4, 6))
        batch = torch.randn(rows, 6, generator=torch.Generator().manual_seed(rows))
        one, other = batch.clone(), batch.clone()
        wanted, got = module(one), graph_function(module)(other)
        assert (got.dtype, got.shape) == (wanted.dtype, wanted.shape)
        assert torch.equal(got, wanted)
        assert torch.equal(one, other)

    def test_with_constants_and_buffers(self) -> None:
        module = exported(Layers(), torch.zeros(2, 3))
        batch = torch.tensor([[1.0, 2, 3], [9, 0, 0], [0, 0, 1]])
        wanted, got = module(batch), graph_function(module)(batch)
        assert list(got) == list(wanted) == ["scores", "best"]
        assert torch.equal(got["scores"], wanted["scores"])
        assert torch.equal(got["best"], wanted["best"])

    def test_with_control_flow(self) -> None:
        function = graph_function(exported(Choosing(), torch.zeros(2, 3)))
        for rows in (1, 2, 5):
            assert function(torch.ones(rows, 3)).tolist() == [[2, 2, 2]] * rows
            assert function(-torch.ones(rows, 3)).tolist() == [[-2, -2, -2]] * rows

    def test_with_a_mode(self) -> None:
        def without_gradients(x: torch.Tensor) -> torch.Tensor:
            with torch.no_grad():
                y = x * 2
            return y + x.shape[0]

        module = exported(Calling(without_gradients), torch.ones(2, 3))
        assert "wrap_with_set_grad_enabled" in module.code
        with torch.inference_mode():
            assert graph_function(module)(torch.ones(4, 3)).tolist() == [[6, 6, 6]] * 4

    def test_on_many_threads_at_once(self) -> None:
        function = graph_function(exported(Layers(), torch.zeros(2, 3)))
        with ThreadPoolExecutor(4) as threads:
            answers = list(threads.map(lambda i: function(torch.full((1 + i % 5, 3), float(i))), range(200)))
        assert [answer["scores"].tolist() for answer in answers] == [
            [[2 * i + 1, 8 * i + 1]] * (1 + i % 5) for i in range(200)
        ]


class Pair(NamedTuple):
    first: torch.Tensor
    second: torch.Tensor


class TestStructure:
    @pytest.mark.parametrize(
        "structure",
        [
            lambda x: {"b": x + 1, "a": x},
            lambda x: OrderedDict(b=x + 1, a=x),
            lambda x: (x, x + 1),
            lambda x: [x, x + 1],
            lambda x: {"a": {"b": x}, "c": (x, None)},
            lambda x: Pair(x, x + 1),
        ],
        ids=["dict", "OrderedDict", "tuple", "list", "nested", "named tuple"],
    )
    def test_of_outputs(self, structure: Callable[..., Any]) -> None:
        module = exported(Calling(structure), torch.zeros(2, 3))
        batch = torch.ones(3, 3)
        wanted, got = module(batch), graph_function(module)(batch)
        assert type(got) is type(wanted)
        wanted_leaves, wanted_spec = pytree.tree_flatten(wanted)
        leaves, spec = pytree.tree_flatten(got)
        assert spec == wanted_spec
        assert all(
            map(torch.equal, *([x for x in each if x is not None] for each in (leaves, wanted_leaves)))
        )

    def test_inputs_by_name(self) -> None:
        ids, scale = torch.tensor([[1, 2], [3, 4]]), torch.tensor([[2.0], [3.0]])
        by_position = graph_function(exported(Named(), ids, scale))
        by_name = graph_function(exported(Named(), named={"ids": ids, "scale": scale}))
        for answer in (
            by_position(ids, scale),
            by_name(scale=scale, ids=ids),
            by_position(scale=scale, ids=ids),
        ):
            assert answer["total"].tolist() == [3, 7]
            assert answer["scaled"].tolist() == [[2, 4], [9, 12]]

    def test_a_wrong_name(self) -> None:
        function = graph_function(exported(Layers(), torch.zeros(2, 3)))
        with pytest.raises(TypeError, match=r"forward\(\) got an unexpected keyword argument 'x'"):
            function(x=torch.zeros(1, 3))

    def test_an_input_that_is_named_as_a_variable(self) -> None:
        class Odd(nn.Module):
            def forward(self, _1: torch.Tensor, _2: torch.Tensor) -> torch.Tensor:
                return (_1 - _2) * 2

        function = graph_function(exported(Odd(), torch.ones(2, 3), torch.zeros(2, 3)))
        assert function(_1=torch.full((1, 3), 5.0), _2=torch.ones(1, 3)).tolist() == [[8, 8, 8]]


def test_an_error_is_that_of_the_module() -> None:
    module = exported(Layers(), torch.zeros(2, 3))
    messages = []
    for call in (module, graph_function(module)):
        with pytest.raises(RuntimeError) as caught:
            call(torch.zeros(2, 4))
        messages.append(str(caught.value))
    assert messages[0] == messages[1]
    assert "cannot be multiplied" in messages[0]


class TestMemory:
    def test_weights_are_not_copied_and_go_with_the_function(self) -> None:
        module: Any = exported(Layers(), torch.zeros(2, 3))
        weight = next(module.parameters())
        function: Any = graph_function(module)
        assert any(each is weight for each in function.__globals__.values())
        held = weakref.ref(weight)
        del module, weight
        gc.collect()
        assert held() is not None
        gc.disable()
        try:
            del function
            assert held() is None
        finally:
            gc.enable()

    def test_an_intermediate_result_is_freed_once_it_is_used(self) -> None:
        alive: list[int] = []
        seen: list[weakref.ref[torch.Tensor]] = []
        module = exported(Calling(lambda x: ((((x + 1) * 2) - 3) / 4).exp()), torch.zeros(2, 3))

        class Watching(torch.overrides.TorchFunctionMode):
            def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
                result = func(*args, **(kwargs or {}))
                alive.append(sum(each() is not None for each in seen))
                seen.append(weakref.ref(result))
                return result

        function, batch = graph_function(module), torch.zeros(2, 3)
        with Watching():
            function(batch)
        # Each operator's input is there, and nothing before it.
        assert alive == [0, 1, 1, 1, 1]


class TestRefusals:
    @pytest.mark.parametrize(
        ("module", "reason"),
        [
            (lambda: nn.Linear(3, 2), "it is not an exported program"),
            (lambda: torch.fx.symbolic_trace(nn.Linear(3, 2)), "it is not an exported program"),
            (lambda: exported(Counter(), torch.zeros(2, 3)), "it changes its buffer calls"),
            (
                lambda: exported(
                    Calling(lambda x: x["a"] + 1),
                    {"a": torch.zeros(2, 3)},
                    shapes={"features": {"a": {0: BATCH}}},
                ),
                "an input is not one tensor",
            ),
        ],
        ids=["module", "fx", "buffer", "nested input"],
    )
    def test_with_its_reason(self, module: Callable[[], nn.Module], reason: str) -> None:
        with pytest.raises(NoFunctionError, match=f"^{reason}"):
            graph_function(module())

    def test_a_module_with_guards(self, tmp_path: Path) -> None:
        torch.export.save(
            torch.export.export(Layers(), (torch.zeros(2, 3),), dynamic_shapes=({0: BATCH},)), tmp_path / "m"
        )
        guarded = torch.export.load(tmp_path / "m").module()
        with pytest.raises(NoFunctionError, match="it calls a module of its own"):
            graph_function(guarded)
