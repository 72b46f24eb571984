import gc
import shutil
import threading
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch

from pipeline.inference.compiling import compiled, padded_size, padded_sizes
from tests.pipeline.models import Branching, Linear

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")


class Counting:
    """A backend of torch.compile that compiles nothing, and counts."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, graph: torch.fx.GraphModule, example_inputs: list[Any]) -> Callable[..., Any]:
        self.count += 1
        return graph.forward


def call(forward: Callable[..., Any], sizes: list[int]) -> list[list[float]]:
    with torch.inference_mode():
        return [forward(torch.ones(size, 3)).tolist() for size in sizes]


def in_a_thread(function: Callable[[], Any]) -> None:
    failures: list[BaseException] = []

    def run() -> None:
        try:
            function()
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert not failures


@pytest.mark.parametrize(
    ("largest", "sizes"),
    [(1, [1]), (2, [1, 2]), (6, [1, 2, 4, 6]), (8, [1, 2, 4, 8]), (100, [1, 2, 4, 8, 16, 32, 64, 100])],
)
def test_sizes(largest: int, sizes: list[int]) -> None:
    assert padded_sizes(largest) == sizes
    for rows in range(1, largest + 1):
        assert padded_size(rows, largest) == min(size for size in sizes if size >= rows)


class TestCompiled:
    def test_once_for_each_size_though_torchs_limit_is_lower(self) -> None:
        counting = Counting()
        sizes = list(range(1, 13))
        assert len(sizes) > torch._dynamo.config.recompile_limit
        forward = compiled(Linear().eval(), len(sizes), counting)
        call(forward, sizes)
        assert counting.count == len(sizes)
        assert call(forward, sizes) == [[3.0] * size for size in sizes]
        assert counting.count == len(sizes)

    def test_by_one_thread_for_others(self) -> None:
        counting = Counting()
        forward = compiled(Linear().eval(), 2, counting)
        in_a_thread(lambda: call(forward, [1, 2]))
        assert counting.count == 2
        threads = torch.get_num_threads()

        def with_another_number_of_threads() -> None:
            torch.set_num_threads(threads + 1)
            try:
                call(forward, [1, 2])
            finally:
                torch.set_num_threads(threads)

        in_a_thread(with_another_number_of_threads)
        call(forward, [1, 2])
        assert counting.count == 2

    def test_models_of_one_class_do_not_share_a_limit(self) -> None:
        for _ in range(3):
            counting = Counting()
            call(compiled(Linear().eval(), 4, counting), [1, 2, 3, 4])
            assert counting.count == 4

    def test_a_size_too_many_is_not_compiled(self) -> None:
        counting = Counting()
        forward = compiled(Linear().eval(), 2, counting)
        call(forward, [1, 2])
        with pytest.raises(torch._dynamo.exc.FailOnRecompileLimitHit):
            call(forward, [3])
        assert counting.count == 2
        assert call(forward, [2]) == [[3, 3]]

    def test_a_model_of_several_graphs(self) -> None:
        with pytest.raises(torch._dynamo.exc.TorchDynamoException, match="features > 0"):
            call(compiled(Branching().eval(), 1, Counting()), [1])

    def test_is_freed(self) -> None:
        module = Linear().eval()
        forward = compiled(module, 1, Counting())
        call(forward, [1])
        weights = weakref.ref(module.weight)
        del module, forward
        gc.collect()
        assert weights() is None

    @needs_compiler
    def test_for_real(self) -> None:
        forward = compiled(Linear().eval(), 1)
        in_a_thread(lambda: call(forward, [2]))
        assert call(forward, [2]) == [[3, 3]]
