"""Small models for the tests, importable by --model_class."""

from __future__ import annotations

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


class Threads(Linear):
    """Answers how many threads torch computes with on the thread that calls."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return torch.full((features.shape[0],), float(torch.get_num_threads()))


class Layers(nn.Module):
    """float32 [batch, 3] → dict of float32 [batch, 2] and int64 [batch]; with a buffer and a constant."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 2)
        self.register_buffer("shift", torch.tensor([0.5, 0.25]))
        self.constant = torch.tensor([2.0, 4.0])
        with torch.no_grad():
            self.linear.weight.copy_(torch.tensor([[1.0, 0, 0], [0, 1, 1]]))
            self.linear.bias.zero_()

    def forward(self, features: torch.Tensor) -> dict[str, torch.Tensor]:
        scores = (self.linear(features) + self.shift) * self.constant
        return {"scores": scores, "best": scores.argmax(dim=1)}


class Fp32Only(nn.Module):
    """Makes a float32 tensor of its own, which no layer in another precision takes."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 2)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.linear(features + torch.zeros(3, dtype=torch.float32))


class Branching(nn.Module):
    """Does one thing or another depending on the inputs' values, which no single graph can."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return features.sum(dim=1) if bool((features > 0).any()) else features.mean(dim=1)


class Squeezing(nn.Module):
    """Answers each row with the whole batch."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return features @ features.T


class Rewriting(Linear):
    """Writes the file `path` while it is being made."""

    def __init__(self, path: str) -> None:
        super().__init__()
        with open(path, "ab") as file:
            file.write(b" ")


class Listing(nn.Module):
    """Answers by a list, whose items have no names."""

    def forward(self, features: torch.Tensor) -> list[torch.Tensor]:
        return [features, features]


class Squares(nn.Module):
    """Σ features², float32 [batch, 3] → [batch]."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return (features * features).sum(dim=1)


class OneRowTooMany(Linear):
    """Answers one row more than it is asked for, where a first feature is 666."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        rows = features @ self.weight
        return torch.cat([rows, rows[:1]]) if bool((features[:, 0] == 666).any()) else rows


class Mean(nn.Module):
    """Any dtype [batch, …] → float32 [batch]; its input has a name that no test gives it."""

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return pixels.float().flatten(1).mean(dim=1)
