"""CUDA graphs: they answer as the module does, or the module goes on without them."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from pipeline.model.graphs import Graphed, capture_on_this_thread
from tests.gpu import needs_cuda
from tests.gpu.models import Counting, Layers
from tests.pipeline.models import Named, Sum

pytestmark = needs_cuda


@pytest.fixture(autouse=True)
def this_thread_captures() -> None:
    capture_on_this_thread()


WARNING = "the model runs without CUDA graphs"


def batch(rows: int, first: float = 0.0) -> torch.Tensor:
    return torch.arange(rows * 3, device="cuda", dtype=torch.float32).reshape(rows, 3) + first


def on_a_stream(graphed: Graphed, inputs: torch.Tensor) -> list[float]:
    with torch.inference_mode(), torch.cuda.stream(torch.cuda.Stream()):
        inputs = inputs.clone()
        output = graphed(inputs)
        scores = output["scores"] if isinstance(output, dict) else output
        return [float(number) for number in scores.flatten().tolist()]


def test_every_size_answers_as_the_module() -> None:
    module = Layers().cuda()
    graphed = Graphed(module, 8)
    with torch.inference_mode(), torch.cuda.stream(torch.cuda.Stream()):
        for rows in (1, 2, 8, 1, 8, 2):
            for first in (0.0, 100.0):
                wanted, found = module(batch(rows, first)), graphed(batch(rows, first))
                assert torch.equal(found["scores"], wanted["scores"])
                assert torch.equal(found["best"], wanted["best"])
                torch.cuda.current_stream().synchronize()


def test_named_inputs() -> None:
    graphed = Graphed(Named().cuda(), 8)
    with torch.inference_mode(), torch.cuda.stream(torch.cuda.Stream()):
        for number in (1, 2, 3):
            ids = torch.full((2, 2), number, device="cuda")
            output = graphed(ids=ids, scale=torch.full((2, 1), 10, device="cuda"))
            assert output["total"].tolist() == [2 * number] * 2
            assert output["scaled"].tolist() == [[10 * number] * 2] * 2


def test_a_module_that_looks_at_its_numbers_is_not_captured(caplog: pytest.LogCaptureFixture) -> None:
    graphed = Graphed(Sum().cuda(), 8)
    for _ in range(2):
        assert on_a_stream(graphed, batch(2)) == [3, 12]
    with pytest.raises(ValueError, match="beast"):
        on_a_stream(graphed, batch(2, 666))
    (warning,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert warning.getMessage().startswith(WARNING)


def test_a_module_that_keeps_its_state_in_python_is_not_captured(caplog: pytest.LogCaptureFixture) -> None:
    module = Counting().cuda()
    graphed = Graphed(module, 8)
    found = [on_a_stream(graphed, batch(1, 1.0))[0] / 6 for _ in range(3)]
    # The capture and its trial calls count, too; from then on each call is one of the module's.
    assert found[0] == 1
    assert found[2] - found[1] == 1
    assert WARNING in caplog.text


def test_threads_have_graphs_of_their_own() -> None:
    module = Layers().cuda()
    graphed = Graphed(module, 8)

    def work(number: int) -> bool:
        capture_on_this_thread()
        with torch.inference_mode(), torch.cuda.stream(torch.cuda.Stream()):
            for count in range(50):
                inputs = batch(1 + (count + number) % 4, 1000.0 * number + count)
                found = graphed(inputs)["scores"].clone()
                torch.cuda.current_stream().synchronize()
                if not torch.equal(found, module(inputs)["scores"]):
                    return False
        return True

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(work, range(4))) == [True] * 4


def test_memory_for_a_capture_may_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The batch itself has been answered, and other sizes are captured all the same."""

    def no_memory(*arguments: object, **named: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    graphed = Graphed(Layers().cuda(), 8)
    with monkeypatch.context() as patched:
        patched.setattr(torch.cuda, "CUDAGraph", no_memory)
        wanted = on_a_stream(graphed, batch(2))
    assert on_a_stream(graphed, batch(2)) == wanted
    assert on_a_stream(graphed, batch(1))
    assert graphed._held.graphs[2] is None
    assert graphed._held.graphs[1] is not None
