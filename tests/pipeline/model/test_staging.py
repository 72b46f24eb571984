from __future__ import annotations

import numpy as np
import pytest
import torch

from pipeline.model.staging import HostStaging, make_staging
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


def test_the_cpus() -> None:
    assert isinstance(make_staging(ONE, None, torch.device("cpu"), 4), HostStaging)
