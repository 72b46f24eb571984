"""How a loaded export is called, and what the log says of it."""

from __future__ import annotations

import gc
import logging
import weakref
from collections.abc import Callable
from pathlib import Path
from types import FunctionType
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.model.compute import Compute
from pipeline.model.load import load
from pipeline.request.input_spec import InputSpec
from tests.pipeline.model.files.test_model_files import export, state, trace
from tests.pipeline.model.test_model import LAYERS, SPEC, rows_of
from tests.pipeline.models import Layers, Linear


class Lots(Linear):
    """Adds what it draws."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return features @ self.weight + torch.rand(features.shape[0])


class Remembering(Linear):
    """Counts its calls, and adds their number."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return features @ self.weight + self.calls


def logged(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if record.name == "pipeline.model.load"]


class TestDirect:
    @pytest.fixture(autouse=True)
    def logging_all(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO, "pipeline.model.load")

    def test_an_export_is_called_as_a_function(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        model = load(export(tmp_path / "m.pt2", module=Layers()), SPEC, max_batch_size=7)
        assert isinstance(model._forward, FunctionType)
        (message,) = logged(caplog)
        assert message == (
            f"--model_path: {tmp_path}/m.pt2 is called as a function of its operators: on random batches of "
            "1, 2, 3, 7 rows it answers as torch's own module does, within 1e-06"
        )

    def test_in_another_precision(self, tmp_path: Path) -> None:
        path = export(tmp_path / "m.pt2", module=Layers())
        model = load(path, SPEC, max_batch_size=4, compute=Compute(precision="bf16"))
        assert isinstance(model._forward, FunctionType)

    def test_no_batch_is_larger_than_it_may_be(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        path = export(tmp_path / "m.pt2", torch.export.Dim("batch", max=2))
        load(path, SPEC, max_batch_size=2)
        assert "on random batches of 1, 2 rows" in caplog.text

    @pytest.mark.parametrize(
        ("module", "reason"),
        [
            (Lots(), "on a random batch of 1 rows 1 of 1 numbers differ by more than 1e-06"),
            (Remembering(), "it changes its buffer calls"),
        ],
    )
    def test_what_is_refused_is_called_as_before(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture, module: torch.nn.Module, reason: str
    ) -> None:
        path = export(tmp_path / "m.pt2", module=module)
        model = load(path, SPEC, max_batch_size=2)
        assert isinstance(model._forward, torch.fx.GraphModule)
        (message,) = logged(caplog)
        assert message == f"--model_path: {path} is called by way of torch's own module: {reason}"
        assert len(model.predict(rows_of(2))) == 2

    @pytest.mark.parametrize(("write", "model_class"), [(trace, None), (state, LAYERS)])
    def test_other_files_are_called_as_they_are(
        self,
        tmp_path: Path,
        caplog: pytest.LogCaptureFixture,
        write: Callable[..., str],
        model_class: str | None,
    ) -> None:
        model = load(write(tmp_path / "m", module=Layers()), SPEC, model_class=model_class)
        assert isinstance(model._forward, torch.nn.Module)
        assert logged(caplog) == []

    def test_a_row_that_fails(self, tmp_path: Path) -> None:
        class Looking(torch.nn.Module):
            def forward(self, ids: torch.Tensor) -> torch.Tensor:
                return torch.nn.functional.embedding(ids, torch.ones(3, 2)).sum(dim=(1, 2))

        program = torch.export.export(
            Looking(),
            (torch.zeros(2, 3, dtype=torch.int64),),
            dynamic_shapes=({0: torch.export.Dim("batch")},),
        )
        torch.export.save(program, tmp_path / "m.pt2")
        model = load(str(tmp_path / "m.pt2"), InputSpec.parse("ids:int64:3"), max_batch_size=2)
        assert isinstance(model._forward, FunctionType)
        with pytest.raises(IndexError, match="^index out of range in self$"):
            model.predict([{"ids": np.array([0, 1, 7])}])
        assert float(model.predict([{"ids": np.array([0, 1, 2])}])[0]) == 6

    def test_the_old_model_is_freed_at_once(self, tmp_path: Path) -> None:
        model: Any = load(export(tmp_path / "m.pt2", module=Layers()), SPEC, max_batch_size=2)
        tensors = [each for each in model._forward.__globals__.values() if isinstance(each, torch.Tensor)]
        weights = [weakref.ref(each) for each in tensors]
        assert len(weights) == 4
        del tensors
        gc.collect()
        gc.disable()
        try:
            del model
            assert [each() for each in weights] == [None] * 4
        finally:
            gc.enable()
