from __future__ import annotations

from collections import OrderedDict
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from pipeline.model.outputs import OutputRows, Outputs, columns
from pipeline.request.errors import InferenceError


class Answer(NamedTuple):
    scores: Any
    best: Any


class ModelOutput(OrderedDict[str, Any]):
    """An output like those of the transformers library."""


SCORES, BEST = torch.zeros(2, 3), torch.ones(2, dtype=torch.int64)


def rows_of(output: Any) -> list[Any]:
    tensors = columns(output, 2)
    return OutputRows(list(tensors), [tensor.numpy() for tensor in tensors.values()]).predictions(0, 2)


def test_a_tensor() -> None:
    rows = rows_of(SCORES)
    assert [row.tolist() for row in rows] == [[0, 0, 0], [0, 0, 0]]
    assert [row.dtype.kind for row in rows_of(BEST)] == ["i", "i"]


@pytest.mark.parametrize(
    "output",
    [
        {"scores": SCORES, "best": BEST},
        ModelOutput(scores=SCORES, best=BEST),
        Answer(SCORES, BEST),
    ],
)
def test_tensors_with_names(output: Any) -> None:
    for row in rows_of(output):
        assert list(row) == ["scores", "best"]
        assert row["scores"].tolist() == [0, 0, 0]
        assert row["best"] == 1


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("x", "returned str: expected a tensor, or a dict or named tuple of them"),
        ((SCORES, BEST), "returned tuple: expected a tensor, or a dict"),
        ([SCORES], "returned list: "),
        (None, "returned NoneType: "),
        ({}, "returned an empty dict"),
        ({1: SCORES}, "output named 1: expected a string"),
        ({None: SCORES}, "output named None: expected a string"),
        ({"scores": SCORES, "hidden": (SCORES,)}, "returned tuple as 'hidden': expected a tensor"),
        (Answer(SCORES, None), "returned NoneType as 'best': expected a tensor"),
        (torch.tensor(1.0), r"shape \[\] for 2 requests"),
        (torch.zeros(1, 3), r"shape \[1, 3\] for 2 requests: expected one row for each"),
        ({"scores": SCORES, "best": BEST[:1]}, r"shape \[1\] as 'best' for 2 requests"),
    ],
)
def test_anything_else_is_refused(output: Any, message: str) -> None:
    with pytest.raises(InferenceError, match=message):
        columns(output, 2)


class TestOutputs:
    def test_in_words(self) -> None:
        assert str(Outputs.of(np.float32(1))) == "float"
        assert str(Outputs.of(np.zeros((3, 2), bool))) == "bool[3, 2]"
        named = Outputs.of({"scores": np.zeros(3, np.float32), "best": np.int64(1)})
        assert str(named) == '{"best": int, "scores": float[3]}'

    def test_equal_whatever_the_width_and_the_order(self) -> None:
        one = Outputs.of({"a": np.zeros(3, np.float32), "b": np.int64(1)})
        assert one == Outputs.of({"b": np.int32(5), "a": np.ones(3, np.float64)})

    @pytest.mark.parametrize(
        "other",
        [
            np.zeros(4, np.float32),
            np.zeros((3, 1), np.float32),
            np.zeros(3, np.int64),
            {"a": np.zeros(3, np.float32)},
        ],
    )
    def test_unequal(self, other: Any) -> None:
        assert Outputs.of(np.zeros(3, np.float32)) != Outputs.of(other)


class TestBatch:
    def test_rows_of_the_only_output(self) -> None:
        batch = OutputRows([None], [np.arange(8).reshape(4, 2)])
        assert [row.tolist() for row in batch.predictions(1, 3)] == [[2, 3], [4, 5]]

    def test_rows_by_name(self) -> None:
        batch = OutputRows(["a", "b"], [np.arange(3), np.arange(6).reshape(3, 2)])
        first, second = batch.predictions(1, 3)
        assert (first["a"], first["b"].tolist()) == (1, [2, 3])
        assert (second["a"], second["b"].tolist()) == (2, [4, 5])

    def test_nan_anywhere_in_a_row(self) -> None:
        matrix = np.ones((4, 2, 2))
        matrix[1, 1, 0] = np.nan
        matrix[3, 0, 1] = -np.inf
        assert OutputRows([None], [matrix]).finite(0, 4) == [True, False, True, False]
        assert OutputRows([None], [matrix]).finite(1, 3) == [False, True]

    def test_nan_in_any_output(self) -> None:
        names: list[str | None] = ["a", "b", "c"]
        batch = OutputRows(names, [np.arange(3), np.array([1, np.nan, 1]), np.array([[1], [1], [np.inf]])])
        assert batch.finite(0, 3) == [True, False, False]

    def test_whole_numbers_have_none(self) -> None:
        assert OutputRows([None], [np.arange(2)]).finite(0, 2) == [True, True]
