"""Staging on a GPU: pinned buffers, a stream for each thread, one copy back for each output."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from pipeline.model.staging import CudaStaging, HostStaging, make_staging
from pipeline.request.input_spec import Inputs, InputSpec
from tests.gpu import needs_cuda
from tests.pipeline.model.test_staging import ONE, TWO, Recorder, rows_of
from tests.waiting import LIMIT_S

pytestmark = needs_cuda


def cuda(spec: InputSpec, dtype: torch.dtype | None = None, max_rows: int = 8) -> CudaStaging:
    staging = make_staging(spec, dtype, torch.device("cuda", 0), max_rows)
    assert isinstance(staging, CudaStaging)
    return staging


@pytest.mark.parametrize("dtype", [None, torch.float16, torch.bfloat16])
def test_as_on_the_host(dtype: torch.dtype | None) -> None:
    def forward(batch: dict[str, torch.Tensor]) -> list[torch.Tensor]:
        return [batch["ids"].sum(1), (batch["scale"] * 2).expand(-1, 3)]

    staging = cuda(TWO, dtype)
    for number in (8, 1, 3):
        rows: list[Inputs] = [
            {"ids": np.array([[i, 1]]), "scale": np.array([[i]], np.float32)} for i in range(number)
        ]
        for ours, theirs in zip(
            staging.run(rows, forward), HostStaging(TWO, dtype).run(rows, forward), strict=True
        ):
            assert ours.tolist() == theirs.tolist()
            assert ours.dtype == theirs.dtype
            assert ours.flags.c_contiguous


def test_on_the_device() -> None:
    forward = Recorder()
    cuda(ONE).run(rows_of(2), forward)
    assert forward.seen["features"].device == torch.device("cuda", 0)


def test_results_outlive_the_next_batch() -> None:
    staging = cuda(ONE)
    (first,) = staging.run(rows_of(8), Recorder())
    staging.run(rows_of(8, first=100), Recorder())
    assert first[:, 0, 0].tolist() == list(range(8))


def test_a_batch_larger_than_the_buffer() -> None:
    with pytest.raises(ValueError, match="shape"):
        cuda(ONE, max_rows=2).run(rows_of(3), Recorder())


def test_after_a_failure() -> None:
    def failing(batch: dict[str, torch.Tensor]) -> list[torch.Tensor]:
        raise ValueError("the model failed")

    staging = cuda(ONE)
    with pytest.raises(ValueError, match="the model failed"):
        staging.run(rows_of(8, first=100), failing)
    (batch,) = staging.run(rows_of(8), Recorder())
    assert batch[:, 0, 0].tolist() == list(range(8))


def test_a_failure_waits_for_what_was_begun() -> None:
    """Else the next batch would be put into a buffer that the device still reads."""
    staging = cuda(ONE)

    def failing(batch: dict[str, torch.Tensor]) -> list[torch.Tensor]:
        torch.cuda._sleep(10**8)  # cycles: some 50 ms
        raise ValueError("the model failed")

    with pytest.raises(ValueError, match="the model failed"):
        staging.run(rows_of(8), failing)
    assert staging._thread_resources().stream.query()


def test_threads_share_nothing() -> None:
    staging = cuda(ONE)
    together = threading.Barrier(2, timeout=LIMIT_S)

    def forward(batch: dict[str, torch.Tensor]) -> list[torch.Tensor]:
        together.wait()  # both have filled their buffers
        return [batch["features"] + 1]

    def run(first: int) -> tuple[list[float], int]:
        for _ in range(20):
            (batch,) = staging.run(rows_of(8, first), forward)
        return batch[:, 0, 0].tolist(), staging._thread_resources().stream.cuda_stream

    with ThreadPoolExecutor(2) as threads:
        (one, its_stream), (other, other_stream) = threads.map(run, (0, 100))
    assert one == list(range(1, 9))
    assert other == list(range(101, 109))
    assert its_stream != other_stream
