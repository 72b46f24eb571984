import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from pipeline.model.staging import CudaStaging, HostStaging, make_staging
from pipeline.request.input_spec import Inputs, InputSpec
from tests.waiting import LIMIT_S

ONE = InputSpec.parse("2x3")
TWO = InputSpec.parse("ids:int64:2,scale:float32:1")
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def rows_of(number: int, first: int = 0) -> list[Inputs]:
    """Blocks of one row each."""
    return [np.full((1, 2, 3), first + i, np.float32) for i in range(number)]


class Recorder:
    """A forward pass that returns its inputs, and remembers them."""

    def __init__(self) -> None:
        self.seen: dict[str, torch.Tensor] = {}

    def __call__(self, batch: dict[str, torch.Tensor]) -> list[torch.Tensor]:
        self.seen = batch
        return list(batch.values())


class TestHost:
    def test_rows_keep_their_order(self) -> None:
        (batch,) = HostStaging(ONE, None).run(rows_of(3), Recorder())
        assert batch.shape == (3, 2, 3)
        assert batch[:, 0, 0].tolist() == [0, 1, 2]

    def test_named(self) -> None:
        rows: list[Inputs] = [
            {"ids": np.array([[i, 1]]), "scale": np.array([[2]], np.float32)} for i in range(2)
        ]
        ids, scale = HostStaging(TWO, None).run(rows, Recorder())
        assert (ids.tolist(), scale.tolist()) == ([[0, 1], [1, 1]], [[2], [2]])
        assert (ids.dtype, scale.dtype) == (np.int64, np.float32)

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    def test_floats_are_cast_there_and_widened_back(self, dtype: torch.dtype) -> None:
        forward = Recorder()
        rows: list[Inputs] = [{"ids": np.array([[300, 1]]), "scale": np.array([[0.5]], np.float32)}]
        ids, scale = HostStaging(TWO, dtype).run(rows, forward)
        assert (forward.seen["ids"].dtype, forward.seen["scale"].dtype) == (torch.int64, dtype)
        assert (ids.tolist(), ids.dtype) == ([[300, 1]], np.int64)
        assert (scale.tolist(), scale.dtype) == ([[0.5]], np.float32)

    def test_wide_floats_stay_wide(self) -> None:
        (output,) = HostStaging(ONE, None).run(rows_of(1), lambda batch: [batch["features"].double()])
        assert output.dtype == np.float64

    def test_outputs_are_contiguous(self) -> None:
        def transposed(batch: dict[str, torch.Tensor]) -> list[torch.Tensor]:
            return [batch["features"].transpose(1, 2)]

        (output,) = HostStaging(ONE, None).run(rows_of(2), transposed)
        assert output.flags.c_contiguous
        assert output.shape == (2, 3, 2)

    def test_tensors_are_those_of_inference(self) -> None:
        forward = Recorder()
        HostStaging(ONE, None).run(rows_of(1), forward)
        assert forward.seen["features"].is_inference()

    def test_blocks_of_several_rows(self) -> None:
        blocks: list[Inputs] = [np.full((n, 2, 3), n, np.float32) for n in (2, 1, 3)]
        (batch,) = HostStaging(ONE, None).run(blocks, Recorder())
        assert batch[:, 0, 0].tolist() == [2, 2, 1, 3, 3, 3]


def test_the_cpus() -> None:
    assert isinstance(make_staging(ONE, None, torch.device("cpu"), 4), HostStaging)


def cuda(spec: InputSpec, dtype: torch.dtype | None = None, max_rows: int = 8) -> CudaStaging:
    staging = make_staging(spec, dtype, torch.device("cuda", 0), max_rows)
    assert isinstance(staging, CudaStaging)
    return staging


@needs_cuda
class TestCuda:
    @pytest.mark.parametrize("dtype", [None, torch.float16, torch.bfloat16])
    def test_as_on_the_host(self, dtype: torch.dtype | None) -> None:
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

    def test_on_the_device(self) -> None:
        forward = Recorder()
        cuda(ONE).run(rows_of(2), forward)
        assert forward.seen["features"].device == torch.device("cuda", 0)

    def test_results_outlive_the_next_batch(self) -> None:
        staging = cuda(ONE)
        (first,) = staging.run(rows_of(8), Recorder())
        staging.run(rows_of(8, first=100), Recorder())
        assert first[:, 0, 0].tolist() == list(range(8))

    def test_a_batch_larger_than_the_buffer(self) -> None:
        with pytest.raises(ValueError, match="shape"):
            cuda(ONE, max_rows=2).run(rows_of(3), Recorder())

    def test_after_a_failure(self) -> None:
        def failing(batch: dict[str, torch.Tensor]) -> list[torch.Tensor]:
            raise ValueError("the model failed")

        staging = cuda(ONE)
        with pytest.raises(ValueError, match="the model failed"):
            staging.run(rows_of(8, first=100), failing)
        (batch,) = staging.run(rows_of(8), Recorder())
        assert batch[:, 0, 0].tolist() == list(range(8))

    def test_threads_share_nothing(self) -> None:
        staging = cuda(ONE)
        together = threading.Barrier(2, timeout=LIMIT_S)

        def forward(batch: dict[str, torch.Tensor]) -> list[torch.Tensor]:
            together.wait()  # both have filled their buffers
            return [batch["features"] + 1]

        def run(first: int) -> tuple[list[float], int]:
            for _ in range(20):
                (batch,) = staging.run(rows_of(8, first), forward)
            return batch[:, 0, 0].tolist(), staging._own().stream.cuda_stream

        with ThreadPoolExecutor(2) as threads:
            (one, its_stream), (other, other_stream) = threads.map(run, (0, 100))
        assert one == list(range(1, 9))
        assert other == list(range(101, 109))
        assert its_stream != other_stream
