"""A decode hook and a model that burn processor time, for jobs that are to be limited by them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

DECODE_S = 0.01
MODEL_S = 0.008


def decode(body: dict[str, Any], attributes: Mapping[str, str]) -> Any:
    """Return the features after 10 ms of processor time."""
    until = time.thread_time() + DECODE_S
    while time.thread_time() < until:
        pass
    return body.pop("features")


class SlowModel(nn.Module):
    """The sum of the features, after 8 ms of processor time a request for products of matrices."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.eye(256))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        rows = self.weight
        until = time.thread_time() + MODEL_S * len(features)
        while time.thread_time() < until:
            rows = rows @ self.weight
        return features.sum(1) * rows[0, 0]
