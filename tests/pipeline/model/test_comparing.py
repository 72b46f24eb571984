from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.model.comparing import difference
from pipeline.model.model import Model
from pipeline.request.input_spec import InputSpec

SPEC = InputSpec.parse("3")


def model(forward: Callable[..., Any], spec: InputSpec = SPEC) -> Model:
    return Model(forward, spec, "m")


def test_models_that_answer_alike() -> None:
    sizes: list[int] = []

    def noted(features: torch.Tensor) -> torch.Tensor:
        sizes.append(len(features))
        return features.sum(1) + 1e-8

    assert difference(model(lambda x: x.sum(1)), model(noted), SPEC, [1, 2, 3, 9]) == ""
    assert sizes == [1, 2, 3, 9]


def test_a_tolerance_of_ones_own() -> None:
    pair = model(lambda x: x.sum(1)), model(lambda x: x.sum(1) + 1e-5)
    assert "differ by more than 1e-06" in difference(*pair, SPEC, [2])
    assert difference(*pair, SPEC, [2], 1e-4) == ""


def test_both_get_the_same_batch_though_one_writes_into_it() -> None:
    assert difference(model(lambda x: x.mul_(2)), model(lambda x: x * 2), SPEC, [2]) == ""


def test_nan_is_nan() -> None:
    assert difference(model(lambda x: x.sqrt()), model(lambda x: x.sqrt()), SPEC, [8]) == ""


@pytest.mark.parametrize(
    ("forward", "problem"),
    [
        (lambda x: x.sum(1) + 1e-4, "2 of 2 numbers differ by more than 1e-06"),
        (lambda x: x.sum(1).double(), "one answers float64[2], not float32[2]"),
        (lambda x: x.sum(1, keepdim=True), "one answers float32[2, 1], not float32[2]"),
        (lambda x: {"sum": x.sum(1)}, "one answers ['sum'], not [None]"),
        (lambda x: x.sum(1)[: len(x) - 1], "it fails: the model returned shape [1] for 2 requests"),
        (lambda x: x.sum(7), "it fails: Dimension out of range"),
    ],
    ids=["numbers", "dtype", "shape", "names", "rows", "error"],
)
def test_what_differs(forward: Callable[..., Any], problem: str) -> None:
    text = difference(model(lambda x: x.sum(1)), model(forward), SPEC, [2])
    assert text.startswith(f"on a random batch of 2 rows {problem}")


def test_a_size_that_is_baked_in() -> None:
    text = difference(model(lambda x: x / x.shape[0]), model(lambda x: x / 2), SPEC, [2, 3])
    assert text.startswith("on a random batch of 3 rows ")


def test_a_model_that_draws_lots() -> None:
    text = difference(model(torch.rand_like), model(torch.rand_like), SPEC, [1])
    assert "numbers differ" in text


def test_whole_numbers_and_truths_are_drawn_as_such() -> None:
    spec = InputSpec.parse("ids:int64:50,mask:bool:50,scale:float16:50")
    drawn: dict[str, np.ndarray] = {}

    def forward(**inputs: torch.Tensor) -> torch.Tensor:
        drawn.update({name: tensor.numpy().copy() for name, tensor in inputs.items()})
        return inputs["ids"].sum(1)

    assert difference(model(forward, spec), model(forward, spec), spec, [4]) == ""
    assert {name: (array.dtype.name, array.shape) for name, array in drawn.items()} == {
        "ids": ("int64", (4, 50)),
        "mask": ("bool", (4, 50)),
        "scale": ("float16", (4, 50)),
    }
    assert set(np.unique(drawn["ids"])) == {0, 1}
    assert set(np.unique(drawn["mask"])) == {False, True}
    assert len(np.unique(drawn["scale"])) > 50
