"""CUDA graphs without a GPU: sizes, and what becomes of a module that is not captured.

`_capture` is replaced here; tests/gpu/test_graphs.py has the real one.
"""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.model import graphs
from pipeline.model.compute import Compute
from pipeline.model.graphs import Graphed, graph_sizes
from pipeline.model.model import Model
from pipeline.request.input_spec import InputSpec


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


@pytest.fixture(autouse=True)
def this_thread_captures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphs, "_thread", graphs._Thread())
    graphs.capture_on_this_thread()


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

    def capture(self: Graphed, inputs: list[torch.Tensor], names: list[str], wanted: Any) -> Replayed:
        rows = len(inputs[0])
        if rows in outcomes:
            raise outcomes[rows]
        return Replayed()

    monkeypatch.setattr(graphs.Graphed, "_capture", capture)
    return Graphed(Doubling(), 8)


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

    assert graphed.sizes() is None


def test_whatever_the_capture_raises_no_request_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    graphed = capturing(monkeypatch, {1: TypeError("'Weird' object is not iterable")})
    for _ in range(2):
        assert graphed(torch.ones(1, 3)).tolist() == [[2, 2, 2]]


def test_a_thread_that_only_checks_models_captures_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    graphed = capturing(monkeypatch, {})
    with ThreadPoolExecutor(1) as other:
        for _ in range(2):
            assert other.submit(graphed, torch.ones(1, 3)).result().tolist() == [[2, 2, 2]]
    graphed(torch.ones(1, 3))
    assert graphed(torch.ones(1, 3)) == "replayed 1"


class InPlace(torch.nn.Module):
    """Writes into its input."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return features.mul_(2)


def test_a_capture_gets_the_inputs_as_they_came(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[float] = []

    def capture(self: Graphed, inputs: list[torch.Tensor], names: list[str], wanted: Any) -> Replayed:
        seen.append(float(inputs[0].sum()))
        return Replayed()

    monkeypatch.setattr(Graphed, "_capture", capture)
    assert Graphed(InPlace(), 8)(torch.ones(1, 3)).tolist() == [[2, 2, 2]]
    assert seen == [3]


class Noting(torch.nn.Module):
    """float32 [batch, 3] → the same; notes the rows of each call."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[int] = []

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        self.rows.append(len(features))
        return features


def test_padding_ends_where_there_are_no_graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    def capture(self: Graphed, inputs: list[torch.Tensor], names: list[str], wanted: Any) -> Replayed:
        raise RuntimeError("no")

    monkeypatch.setattr(Graphed, "_capture", capture)
    module = Noting()
    graphed = Graphed(module, 8)
    model = Model(graphed, InputSpec.parse("3"), "m", sizes=graphed.sizes)
    for _ in range(2):
        assert len(model.run([np.ones((5, 3), np.float32)], 5).arrays[0]) == 5
    assert module.rows == [6, 5]


def test_a_lost_device_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    graphed = capturing(monkeypatch, {1: RuntimeError("CUDA error: device-side assert triggered")})
    with pytest.raises(RuntimeError, match="device-side assert"):
        graphed(torch.ones(1, 3))


def test_what_a_model_raises_is_raised() -> None:
    with pytest.raises(RuntimeError, match="shapes"):
        Graphed(torch.nn.Linear(5, 1), 8)(torch.ones(2, 3))


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        (torch.ones(2), torch.ones(2), True),
        (torch.ones(2), torch.tensor([1.0, 1.1]), False),
        (torch.tensor([100]), torch.tensor([101]), False),
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
