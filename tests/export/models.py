"""Models to export, in .pt2 files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

BATCH = torch.export.Dim("batch")


class Named(torch.nn.Module):
    """Of `ids` and `scale`: `total`, a number, and `rows`, six of them."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding(2, 6)

    def forward(self, ids: torch.Tensor, scale: torch.Tensor) -> dict[str, torch.Tensor]:
        rows = self.embedding(ids).sum(1) * scale
        return {"total": rows.sum(1), "rows": rows}


class Reshaping(torch.nn.Module):
    """Computes with the number of rows, as encoders do."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return (
            features.reshape(features.shape[0], 2, 3)
            .transpose(1, 2)
            .reshape(features.shape[0] * 3, 2)
            .sum(1)
            .reshape(features.shape[0], 3)
        )


class Attention(torch.nn.Module):
    """One layer of an encoder, with a learned first token for each row."""

    def __init__(self) -> None:
        super().__init__()
        self.token = torch.nn.Parameter(torch.ones(1, 1, 8))
        self.project = torch.nn.Linear(8, 24)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        rows = features.shape[0]
        tokens = torch.cat([self.token.expand(rows, -1, -1), features], 1) + torch.ones(rows, 1, 8)
        query, key, value = self.project(tokens).view(rows, -1, 3, 2, 4).permute(2, 0, 3, 1, 4)
        mixed = torch.nn.functional.scaled_dot_product_attention(query, key, value)
        return mixed.transpose(1, 2).reshape(rows, -1, 8)[:, 0]


class Repeating(torch.nn.Module):
    """Repeats by the number of rows, which a trace takes for a constant."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return features + torch.arange(3.0).repeat(features.shape[0], 1)


class OnTheCpu(torch.nn.Module):
    """Makes a tensor as it runs, on the device that it is exported on."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return features + torch.randn(3) * 0


def save(path: Path, model: torch.nn.Module, *args: torch.Tensor, **kwargs: torch.Tensor) -> Path:
    """Export a model whose first dimension is the batch."""
    shapes: Any = {name: {0: BATCH} for name in kwargs} if kwargs else tuple({0: BATCH} for _ in args)
    torch.export.save(torch.export.export(model.eval(), args, kwargs, dynamic_shapes=shapes), path)
    return path


def save_named(path: Path) -> Path:
    torch.manual_seed(3)
    return save(path, Named(), ids=torch.zeros(2, 4, dtype=torch.int64), scale=torch.ones(2, 6))
