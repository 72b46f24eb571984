"""What is told of a model's failure."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pipeline.model.failure import said
from pipeline.model.load import load
from pipeline.request.errors import ModelError
from pipeline.request.input_spec import InputSpec


def test_an_error_says_its_own_message() -> None:
    assert said(ValueError("two\nlines <--- HERE\n")) == "two\nlines <--- HERE\n"


def test_torchscript_says_the_reason_without_its_traceback() -> None:
    scripted = torch.jit.script(torch.nn.Embedding(5, 2))
    with pytest.raises(RuntimeError) as caught:
        scripted(torch.tensor([9]))
    assert said(caught.value) == "RuntimeError: index out of range in self"


class Reshaped(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.reshape(int(x.shape[0]), 3).relu().sum(1).tanh() + x.sum(1)


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_so_does_a_trace_which_tells_of_its_own_python_too(tmp_path: Path) -> None:
    path = tmp_path / "model.ts"
    torch.jit.trace(Reshaped(), torch.zeros(2, 3)).save(str(path))
    with pytest.raises(RuntimeError) as caught:
        torch.jit.load(path)(torch.zeros(1, 3))
    assert said(caught.value) == "RuntimeError: shape '[2, 3]' is invalid for input of size 3"


def test_so_does_one_that_does_not_load(tmp_path: Path) -> None:
    path = tmp_path / "model.ts"
    torch.jit.script(torch.nn.Linear(3, 2)).save(str(path))
    with pytest.raises(ModelError, match=r"on cpu: RuntimeError: mat1 and mat2 shapes cannot be multiplied"):
        load(str(path), InputSpec.parse("4"))
