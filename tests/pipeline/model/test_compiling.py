from __future__ import annotations

import gc
import shutil
import sys
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch

from pipeline.model.compiling import Compiled, padded_size, padded_sizes
from tests.pipeline.models import Branching, Layers, Linear, Named

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")


class Counting:
    """A compiler that compiles nothing, and counts."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> Callable[..., Any]:
        self.count += 1
        return graph


def call(forward: Callable[..., Any], sizes: list[int]) -> list[list[float]]:
    with torch.inference_mode():
        return [forward(torch.ones(size, 3)).tolist() for size in sizes]


@pytest.mark.parametrize(
    ("largest", "sizes"),
    [(1, [1]), (2, [1, 2]), (6, [1, 2, 4, 6]), (8, [1, 2, 4, 8]), (100, [1, 2, 4, 8, 16, 32, 64, 100])],
)
def test_sizes(largest: int, sizes: list[int]) -> None:
    assert padded_sizes(largest) == sizes
    for rows in range(1, largest + 1):
        assert padded_size(rows, largest) == min(size for size in sizes if size >= rows)


class TestCompiled:
    @pytest.fixture
    def many_switches(self) -> Iterator[None]:
        interval = sys.getswitchinterval()
        sys.setswitchinterval(1e-5)
        yield
        sys.setswitchinterval(interval)

    def test_once_for_each_size(self) -> None:
        counting = Counting()
        forward = Compiled(Linear().eval(), counting)
        for _ in range(2):
            assert call(forward, [1, 2, 5]) == [[3], [3, 3], [3] * 5]
        assert counting.count == 3

    def test_for_every_thread(self) -> None:
        counting = Counting()
        forward = Compiled(Linear().eval(), counting)
        with ThreadPoolExecutor(1) as loader:
            loader.submit(call, forward, [1, 2]).result()
        assert counting.count == 2
        threads = torch.get_num_threads()

        def with_another_number_of_threads() -> list[list[float]]:
            torch.set_num_threads(threads + 1)
            try:
                return call(forward, [1, 2])
            finally:
                torch.set_num_threads(threads)

        with ThreadPoolExecutor(1) as other:
            assert other.submit(with_another_number_of_threads).result() == [[3], [3, 3]]
        assert counting.count == 2

    def test_named_inputs_and_outputs(self) -> None:
        forward = Compiled(Named().eval(), Counting())
        inputs = {"ids": torch.tensor([[1, 2]]), "scale": torch.tensor([[3.0]])}
        for _ in range(2):
            answer = forward(**inputs)
            assert answer["total"].tolist() == [3]
            assert answer["scaled"].tolist() == [[3, 6]]

    def test_an_exported_program(self) -> None:
        program = torch.export.export(
            Layers(), (torch.zeros(2, 3),), dynamic_shapes={"features": {0: torch.export.Dim("batch")}}
        )
        with torch.inference_mode():
            answer = Compiled(program.module(), Counting())(torch.tensor([[1.0, 2, 3]]))
        assert answer["scores"].tolist() == [[3, 21]]

    def test_a_model_that_is_no_graph(self) -> None:
        with pytest.raises(RuntimeError, match="data-dependent"):
            call(Compiled(Branching().eval(), Counting()), [1])

    def test_is_freed(self) -> None:
        module = Linear().eval()
        forward = Compiled(module, Counting())
        call(forward, [1])
        weights = weakref.ref(module.weight)
        del module, forward
        gc.collect()
        assert weights() is None
