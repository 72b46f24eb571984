"""The autoencoder: 30 features → 16 → 4 → 16 → 30."""

from __future__ import annotations

import torch
from torch import nn

FEATURES = 30


class AnomalyScorer(nn.Module):
    """A score of how badly the autoencoder rebuilds a record: 0 for a perfect copy, towards 1 for an anomaly.

    It takes raw features, so that no caller can normalise them wrongly: the mean and the standard deviation
    of the training records are part of the model.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, mean: torch.Tensor | None = None, std: torch.Tensor | None = None) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(FEATURES) if mean is None else mean)
        self.register_buffer("std", torch.ones(FEATURES) if std is None else std)
        self.autoencoder = nn.Sequential(
            nn.Linear(FEATURES, 16),
            nn.Tanh(),
            nn.Linear(16, 4),
            nn.Tanh(),
            nn.Linear(4, 16),
            nn.Tanh(),
            nn.Linear(16, FEATURES),
        )

    def reconstruction_error(self, features: torch.Tensor) -> torch.Tensor:
        """Return the mean squared error of the normalised features, float32 [batch, 30] → [batch]."""
        normal = (features - self.mean) / self.std
        return (self.autoencoder(normal) - normal).square().mean(dim=1)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return anomaly scores in [0, 1), float32 [batch, 30] → [batch].

        A score is e / (1 + e) of the reconstruction error e: bounded, so that float32 keeps repeats of a
        record equal to 1e-6 whatever the batch.
        """
        error = self.reconstruction_error(features)
        return error / (1 + error)
