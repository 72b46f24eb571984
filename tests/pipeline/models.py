"""Small models for the tests, importable by --model_class."""

import torch
from torch import nn


class Sum(nn.Module):
    """Σ features · weight, float32 [batch, 3] → [batch]; raises where a first feature is 666."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((3,), float(scale)))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        if bool((features[:, 0] == 666).any()):
            raise ValueError("the number of the beast")
        return features @ self.weight


class Linear(nn.Module):
    """The same without the check, so that it can be exported."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return features @ self.weight


class Named(nn.Module):
    """Two named inputs, two named outputs."""

    def forward(self, ids: torch.Tensor, scale: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"total": ids.sum(dim=1), "scaled": ids * scale}


class WholeBatch(nn.Module):
    """Answers the batch as one, which no request can be answered by."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return features.sum()


class NotAModule:
    pass
