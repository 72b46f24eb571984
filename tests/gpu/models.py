"""Models for the GPU tests, importable by --model_class."""

from __future__ import annotations

import torch
from torch import nn

from tests.pipeline import models


class Lookup(nn.Module):
    """A table whose entries are their index, int64 ids [batch, 2] → [batch, 2]; it has 16 of them."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.arange(16, dtype=torch.float32))

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.table[ids]


class Layers(models.Layers):
    """The `Layers` of the CPU's tests, its constant a buffer, so that it goes where the module goes."""

    def __init__(self) -> None:
        super().__init__()
        constant = self.constant
        del self.constant  # no buffer may have the name of an attribute
        self.register_buffer("constant", constant)


class Counting(nn.Module):
    """Answer with the number of the call, which Python keeps: a graph would repeat that of its capture."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))
        self.calls = 0

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return features @ self.weight * self.calls


class Wide(nn.Module):
    """Make `features` much larger on its way, float32 [batch, 1024] → [batch]: memory goes with the rows."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return (features.repeat(1, 1024) * self.weight).mean(dim=1)
