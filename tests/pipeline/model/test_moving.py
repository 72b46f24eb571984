"""Weights on their way to a device, here `meta`: cast before they move, and tied ones still tied."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from pipeline.model.moving import move_module, move_program
from tests.pipeline.models import Layers

META = torch.device("meta")


class Tied(nn.Module):
    """Two layers of one weight, and a third of its transpose."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Linear(3, 3)
        self.two = nn.Linear(3, 3)
        self.two.weight = self.one.weight
        self.three = nn.Linear(3, 3)
        self.three.weight = nn.Parameter(self.one.weight.detach().t())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.three(self.two(self.one(x)))


def exported(module: nn.Module) -> torch.export.ExportedProgram:
    return torch.export.export(
        module.eval(), (torch.zeros(2, 3),), dynamic_shapes=({0: torch.export.Dim("batch")},)
    )


def storages(tensors: list[torch.Tensor]) -> set[int]:
    return {tensor.untyped_storage()._cdata for tensor in tensors}


@pytest.mark.parametrize("device", [META, torch.device("cpu")])
@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_tied_weights_stay_one(device: torch.device, dtype: torch.dtype | None) -> None:
    program = exported(Tied())
    before = {name: (tensor.shape, tensor.stride()) for name, tensor in program.state_dict.items()}
    moved = move_program(program, device, dtype)
    module = moved.module(check_guards=False)
    assert {tensor.device for tensor in module.parameters()} == {device}
    assert {tensor.dtype for tensor in module.parameters()} == {dtype or torch.float32}
    state = module.state_dict()
    assert {name: (tensor.shape, tensor.stride()) for name, tensor in state.items()} == before
    assert len(storages([tensor for name, tensor in state.items() if name.endswith("weight")])) == 1
    # What follows on the way, moves nothing more.
    assert storages(list(move_module(module, device, dtype).state_dict().values())) == storages(
        list(state.values())
    )


@pytest.mark.parametrize("dtype", [None, torch.float16])
def test_the_same_numbers(dtype: torch.dtype | None) -> None:
    x = torch.tensor([[1.0, 2, 3]])
    module = move_program(exported(Layers()), torch.device("cpu"), dtype).module(check_guards=False)
    answer = module(x.to(dtype) if dtype else x)
    assert answer["scores"].tolist() == [[3, 21]]


@pytest.mark.parametrize("move", [lambda m: move_module(m, META, torch.float16),
                                  lambda m: move_program(exported(m), META, torch.float16)])  # fmt: skip
def test_cast_before_the_move(move: Callable[[nn.Module], object], monkeypatch: pytest.MonkeyPatch) -> None:
    arrived: list[torch.dtype] = []
    to = torch.Tensor.to

    def noted(tensor: torch.Tensor, *args: object, **named: object) -> torch.Tensor:
        result: torch.Tensor = to(tensor, *args, **named)
        if result.device == META and tensor.device != META and tensor.is_floating_point():
            arrived.append(result.dtype)
        return result

    module = nn.Linear(3, 3)
    monkeypatch.setattr(torch.Tensor, "to", noted)
    move(module)
    assert torch.float16 in arrived
    # The example inputs, which are as the export had them, are no weights.
    assert arrived.count(torch.float16) == 2
