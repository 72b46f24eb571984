"""Models for the GPU tests, importable by --model_class."""

from __future__ import annotations

import torch
from torch import nn


class Lookup(nn.Module):
    """A table whose entries are their index, int64 ids [batch, 2] → [batch, 2]; it has 16 of them."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.arange(16, dtype=torch.float32))

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.table[ids]


class Wide(nn.Module):
    """Make `features` much larger on its way, float32 [batch, 1024] → [batch]: memory goes with the rows."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return (features.repeat(1, 1024) * self.weight).mean(dim=1)
