"""CUDA graphs without a GPU: sizes, and what becomes of a module that is not captured.

`_capture` is replaced here; tests/gpu/test_graphs.py has the real one.
"""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch

from pipeline.model import graphs
from pipeline.model.compute import Compute
from pipeline.model.graphs import Graphed, graph_sizes


@pytest.mark.parametrize(
    ("most", "sizes"),
    [
        (1, [1]),
        (2, [1, 2]),
        (3, [1, 2, 3]),
        (8, [1, 2, 3, 4, 6, 8]),
        (100, [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 100]),
    ],
)
def test_sizes(most: int, sizes: list[int]) -> None:
    assert graph_sizes(most) == sizes


def test_no_batch_is_padded_by_half_or_more() -> None:
    sizes = graph_sizes(1000)
    for rows in range(1, 1001):
        assert min(size for size in sizes if size >= rows) < 1.5 * rows


class Doubling(torch.nn.Module):
    """float32 [batch, 3] → the same times two; counts its calls."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return features * 2


class Replayed:
    """In place of a graph."""

    def replay(self, inputs: list[torch.Tensor]) -> str:
        return f"replayed {len(inputs[0])}"


def capturing(monkeypatch: pytest.MonkeyPatch, outcomes: dict[int, Exception]) -> Graphed:
    """Return a graphed module whose captures fail for some numbers of rows."""

    def capture(self: Graphed, tensors: Any, named: Any, wanted: Any) -> Replayed:
        rows = len([*tensors, *named.values()][0])
        if rows in outcomes:
            raise outcomes[rows]
        return Replayed()

    monkeypatch.setattr(graphs.Graphed, "_capture", capture)
    return Graphed(Doubling())


def test_the_first_call_is_the_modules_and_the_next_ones_are_replayed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    graphed = capturing(monkeypatch, {})
    for rows in (1, 4):
        assert graphed(torch.ones(rows, 3)).tolist() == [[2, 2, 2]] * rows
        assert graphed(torch.ones(rows, 3)) == f"replayed {rows}"
    assert graphed(features=torch.ones(4, 3)) == "replayed 4"


def test_a_size_without_memory_for_a_graph_runs_without(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    graphed = capturing(monkeypatch, {4: torch.OutOfMemoryError("CUDA out of memory")})
    with caplog.at_level(logging.INFO):
        for _ in range(3):
            assert graphed(torch.ones(4, 3)).tolist() == [[2, 2, 2]] * 4
    assert caplog.messages == ["no memory for a CUDA graph of 4 rows: CUDA out of memory"]
    graphed(torch.ones(1, 3))
    assert graphed(torch.ones(1, 3)) == "replayed 1"


def test_a_module_that_cannot_be_captured_runs_without(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    graphed = capturing(
        monkeypatch, {1: RuntimeError("operation not permitted when stream is capturing\nmore")}
    )
    for rows in (1, 1, 4, 4):
        assert graphed(torch.ones(rows, 3)).tolist() == [[2, 2, 2]] * rows
    (warning,) = caplog.messages
    assert warning.endswith("gain by: operation not permitted when stream is capturing")


def test_a_lost_device_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    graphed = capturing(monkeypatch, {1: RuntimeError("CUDA error: device-side assert triggered")})
    with pytest.raises(RuntimeError, match="device-side assert"):
        graphed(torch.ones(1, 3))


def test_what_a_model_raises_is_raised() -> None:
    with pytest.raises(RuntimeError, match="shapes"):
        Graphed(torch.nn.Linear(5, 1))(torch.ones(2, 3))


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        (torch.ones(2), torch.ones(2), True),
        (torch.ones(2), torch.tensor([1.0, 1.1]), False),
        (torch.tensor([float("nan")]), torch.tensor([float("nan")]), True),
        ({"a": torch.ones(2)}, {"a": torch.zeros(2)}, False),
        ((torch.ones(2), torch.tensor([3])), (torch.ones(2), torch.tensor([3])), True),
    ],
)
def test_alike(one: Any, other: Any, alike: bool) -> None:
    assert graphs._alike(one, other) is alike


def test_who_takes_graphs() -> None:
    gpu, module = torch.device("cuda", 0), torch.nn.Linear(1, 1)
    assert Compute("gpu").takes_graphs(gpu, module)
    assert not Compute("gpu", cuda_graphs=False).takes_graphs(gpu, module)
    assert not Compute("cpu").takes_graphs(torch.device("cpu"), module)
    assert not Compute("gpu").takes_graphs(gpu, torch.jit.trace(module, torch.ones(1, 1)))
