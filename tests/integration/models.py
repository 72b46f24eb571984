"""Models that misbehave on cue. They are loaded by --model_class from a state_dict."""

from __future__ import annotations

import time

import torch
from torch import nn


class Picky(nn.Module):
    """The sum of the features; fails on any batch in which a first feature is 666."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        if bool((features[:, 0] == 666).any()):
            raise ValueError("the number of the beast")
        return features @ self.weight


class Timed(nn.Module):
    """The sum of three features, after a time that goes with the rows by a known law."""

    A_MS, B_MS = 4.0, 0.5

    def __init__(self, a_ms: float = A_MS) -> None:
        super().__init__()
        self.a_ms = a_ms
        self.weight = nn.Parameter(torch.ones(3))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        time.sleep((self.a_ms + self.B_MS * len(features)) / 1e3)
        return features @ self.weight
