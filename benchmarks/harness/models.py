"""The models of the in-process experiments, as both sides load them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from examples.breast_cancer import autoencoder
from examples.breast_cancer.autoencoder import FEATURES, AnomalyScorer
from pipeline.request.input_spec import Inputs

MODEL = Path(autoencoder.__file__).with_name("model.pt2")

# What the flag --precision of the job stands for.
DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}


class WrongAnswerError(Exception):
    """A side gave a wrong answer, so its figures are worth nothing."""


class Linear(nn.Module):
    """A number for each request, float32 [batch, features] → [batch]: next to no work."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.linear = nn.Linear(features, 1)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return one number a row."""
        return self.linear(features).squeeze(1)


class Mlp(nn.Module):
    """Layers of Linear and ReLU, as wide as their input: float32 [batch, width] → [batch, width]."""

    def __init__(self, layers: int, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(part for _ in range(layers) for part in (nn.Linear(width, width), nn.ReLU()))
        )

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return rows as wide as the input's."""
        return self.layers(features)


class Encoder(nn.Module):
    """A text encoder like BERT, of torch's own modules: int64 ids [batch, length] → [batch, width].

    The output is pooled as BERT's: the first token's, through a layer of its own.
    """

    def __init__(
        self, layers: int, width: int, heads: int, feed_forward: int, vocabulary: int, length: int
    ) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, width)
        self.positions = nn.Parameter(torch.randn(length, width))
        self.norm = nn.LayerNorm(width)
        layer = nn.TransformerEncoderLayer(
            width, heads, feed_forward, activation="gelu", batch_first=True, dropout=0.0
        )
        self.encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.pooler = nn.Linear(width, width)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Return the pooled output."""
        hidden = self.encoder(self.norm(self.tokens(ids) + self.positions))
        return torch.tanh(self.pooler(hidden[:, 0]))


class CountedLinear(Linear):
    """A Linear that counts how often this process loads its weights."""

    loads = 0

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """Count, and load."""
        type(self).loads += 1
        return super().load_state_dict(state_dict, strict, assign)


@dataclass(frozen=True)
class Workload:
    """A model and its inputs.

    Attributes:
        title: Its name in the tables.
        model_class: The module's class.
        model_params: Keyword arguments of the class.
        input_shape: As the flag --input_shape takes it.
        precision: What both sides compute in, as the flag --precision takes it.
        vocabulary: Inputs are whole numbers below this; None for float32.
        exported: A torch.export file with the weights; None for random ones.
    """

    title: str
    model_class: type[nn.Module]
    model_params: Mapping[str, int]
    input_shape: str
    precision: str = "fp32"
    vocabulary: int | None = None
    exported: Path | None = field(default=None, kw_only=True)

    def make(self) -> nn.Module:
        """Return the module in float32 on the CPU, with the same weights at each call."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            module = self.model_class(**self.model_params)
        if self.exported is not None:
            module.load_state_dict(torch.export.load(self.exported).state_dict)
        return module.eval()

    @property
    def stock_class(self) -> Callable[..., nn.Module]:
        """What makes the module in the workload's precision, for which stock has no setting. It pickles."""
        if self.precision == "fp32":
            return self.model_class
        return partial(_cast, self.model_class, DTYPES[self.precision])

    def inputs(self, count: int) -> list[Inputs]:
        """Return the inputs of `count` requests, the same at each call.

        Numbers are as clients write them: float32 with six decimals.
        """
        numbers = np.random.default_rng(1)
        name, _, rest = self.input_shape.partition(":")
        if self.vocabulary is not None:
            length = int(rest.rpartition(":")[2])
            return [{name: row} for row in numbers.integers(0, self.vocabulary, (count, length))]
        return list(np.round(numbers.standard_normal((count, int(name))), 6).astype(np.float32))


def example() -> Workload:
    """Return the example's autoencoder with its trained weights."""
    return Workload("the example's autoencoder", AnomalyScorer, {}, str(FEATURES), exported=MODEL)


def linear(features: int) -> Workload:
    """Return a model that does next to nothing."""
    return Workload(f"Linear({features:,}, 1)", Linear, {"features": features}, str(features))


def counted_linear(features: int) -> Workload:
    """Return `linear` with its loads counted."""
    return Workload(f"Linear({features:,}, 1)", CountedLinear, {"features": features}, str(features))


def mlp(layers: int = 6, width: int = 1024) -> Workload:
    """Return a model whose forward pass outweighs all that is around it."""
    title = f"{layers} × (Linear({width:,}, {width:,}), ReLU), float32"
    return Workload(title, Mlp, {"layers": layers, "width": width}, str(width))


def encoder(
    layers: int = 12,
    width: int = 768,
    heads: int = 12,
    feed_forward: int = 3072,
    vocabulary: int = 30_522,
    length: int = 128,
) -> Workload:
    """Return a text encoder in float16, by default as large as BERT base."""
    sizes = {
        "layers": layers,
        "width": width,
        "heads": heads,
        "feed_forward": feed_forward,
        "vocabulary": vocabulary,
        "length": length,
    }
    title = (
        f"encoder of {layers} layers, {width} wide, {heads} heads, {feed_forward:,} feed-forward; "
        f"{length} tokens, float16"
    )
    return Workload(title, Encoder, sizes, f"ids:int64:{length}", "fp16", vocabulary)


def _cast(model_class: type[nn.Module], dtype: torch.dtype, **params: int) -> nn.Module:
    return model_class(**params).to(dtype)
