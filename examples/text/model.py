"""The classifier: an embedding, the mean over the words, a linear layer."""

from __future__ import annotations

import torch
from torch import nn


class SentimentClassifier(nn.Module):
    """The probability that a text is positive.

    Args:
        tokens: Size of the vocabulary. An id outside 0 … tokens - 1 is an IndexError on the CPU; on a GPU it
            ends the process.
        width: Numbers in a token's embedding.
    """

    def __init__(self, tokens: int, width: int = 16) -> None:
        super().__init__()
        self.embedding = nn.Embedding(tokens, width)
        self.output = nn.Linear(width, 1)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Return probabilities, float32 [batch].

        Args:
            ids: Token ids, int64 [batch, length].
            mask: 1 for those that count, else 0, int64 [batch, length].
        """
        weights = mask.unsqueeze(2)
        # At least 1: the job tries a model on zeros, which is a text without words.
        count = weights.sum(dim=1).clamp(min=1)
        mean = (self.embedding(ids) * weights).sum(dim=1) / count
        return torch.sigmoid(self.output(mean)).squeeze(1)
