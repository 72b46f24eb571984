from __future__ import annotations

import contextlib
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from pipeline.model import staging as staging_module
from pipeline.model.staging import CudaStaging, HostStaging, make_staging
from pipeline.request.input_spec import Inputs, InputSpec

ONE = InputSpec.parse("2x3")
TWO = InputSpec.parse("ids:int64:2,scale:float32:1")


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
        assert (ids.dtype, scale.dtype) == (np.dtype(np.int64), np.dtype(np.float32))

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    def test_floats_are_cast_there_and_widened_back(self, dtype: torch.dtype) -> None:
        forward = Recorder()
        rows: list[Inputs] = [{"ids": np.array([[300, 1]]), "scale": np.array([[0.5]], np.float32)}]
        ids, scale = HostStaging(TWO, dtype).run(rows, forward)
        assert (forward.seen["ids"].dtype, forward.seen["scale"].dtype) == (torch.int64, dtype)
        assert (ids.tolist(), ids.dtype) == ([[300, 1]], np.dtype(np.int64))
        assert (scale.tolist(), scale.dtype) == ([[0.5]], np.dtype(np.float32))

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

    def test_inputs_of_several_rows(self) -> None:
        inputs: list[Inputs] = [np.full((n, 2, 3), n, np.float32) for n in (2, 1, 3)]
        (batch,) = HostStaging(ONE, None).run(inputs, Recorder())
        assert batch[:, 0, 0].tolist() == [2, 2, 1, 3, 3, 3]

    @pytest.mark.parametrize("view", [slice(None), slice(2)])
    def test_results_are_not_the_memory_of_a_module_that_keeps_it(self, view: slice) -> None:
        kept = torch.zeros(2)

        def forward(batch: dict[str, torch.Tensor]) -> list[torch.Tensor]:
            kept[:] = batch["features"][:, 0, 0]
            return [kept[view]]

        staging = HostStaging(ONE, None)
        (first,) = staging.run(rows_of(2), forward)
        (second,) = staging.run(rows_of(2, first=10), forward)
        assert (first.tolist(), second.tolist()) == ([0, 1], [10, 11])


class FakeEvent:
    """An event that the device reaches when the test waits for it; it tells what it was asked."""

    def __init__(self, error: Exception | None = None) -> None:
        self.asked: list[object] = []
        self._error = error

    def record(self, stream: object) -> None:
        self.asked.append(stream)

    def synchronize(self) -> None:
        self.asked.append("wait")
        if self._error is not None:
            raise self._error


class TestCudaWithoutADevice:
    """What is done when: `tests/gpu/test_staging.py` has the rest."""

    @pytest.fixture
    def staging(self, monkeypatch: pytest.MonkeyPatch) -> CudaStaging:
        done = SimpleNamespace(synchronize=lambda: None)
        monkeypatch.setattr(torch.cuda, "default_stream", lambda device: done)
        monkeypatch.setattr(torch.cuda, "stream", lambda stream: contextlib.nullcontext())
        return CudaStaging(ONE, None, torch.device("cpu"), 4)

    @pytest.mark.parametrize("while_waiting", [None, RuntimeError("CUDA error: unspecified launch failure")])
    def test_a_failed_batch_waits_for_the_device_too(
        self, staging: CudaStaging, monkeypatch: pytest.MonkeyPatch, while_waiting: Exception | None
    ) -> None:
        event = FakeEvent(while_waiting)
        buffers = {"features": torch.empty(4, 2, 3)}
        monkeypatch.setattr(
            staging,
            "_thread_resources",
            lambda: staging_module._ThreadResources("stream", event, buffers),
        )

        def forward(batch: dict[str, torch.Tensor]) -> list[torch.Tensor]:
            assert event.asked == []
            raise ValueError("the model failed")

        with pytest.raises(ValueError, match="the model failed"):
            staging.run(rows_of(2), forward)
        assert event.asked == ["stream", "wait"]


def test_the_cpus() -> None:
    assert isinstance(make_staging(ONE, None, torch.device("cpu"), 4), HostStaging)
