"""Models on a GPU: loaded from every format, in every precision, by several threads, compiled, freed."""

from __future__ import annotations

import gc
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.model.compute import Compute
from pipeline.model.model import load
from pipeline.request.input_spec import Inputs
from tests.gpu import needs_cuda
from tests.pipeline.model.test_model import FORMATS, SPEC, row, rows_of
from tests.pipeline.model.test_model_files import export
from tests.pipeline.models import Layers

pytestmark = needs_cuda


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
@pytest.mark.parametrize(("write", "model_class"), FORMATS)
def test_every_format_as_on_the_cpu(
    tmp_path: Path, precision: str, write: Callable[..., str], model_class: str | None
) -> None:
    path = write(tmp_path / "m", module=Layers())
    one, other = (
        load(
            path,
            SPEC,
            model_class=model_class,
            max_batch_size=4,
            compute=Compute(device, precision),
        )
        for device in ("cpu", "gpu")
    )
    assert other.device.startswith("cuda:0 (")
    assert one.outputs == other.outputs
    for size in (1, 4):
        for ours, theirs in zip(other.predict(rows_of(size)), one.predict(rows_of(size)), strict=True):
            assert ours["best"] == theirs["best"]
            assert np.allclose(ours["scores"], theirs["scores"], rtol=1e-2)


def test_two_threads_at_once(tmp_path: Path) -> None:
    model = load(export(tmp_path / "m.pt2"), SPEC, max_batch_size=5, compute=Compute("gpu"))
    batches: list[list[Inputs]] = [[row(i, j, 0) for j in range(1 + i % 5)] for i in range(200)]
    with ThreadPoolExecutor(2) as threads:
        answers = list(threads.map(model.predict, batches))
    assert [[float(p) for p in answer] for answer in answers] == [
        [i + j for j in range(len(batch))] for i, batch in enumerate(batches)
    ]


@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs a C compiler")
def test_compiled(tmp_path: Path) -> None:
    compute = Compute("gpu", compile=True)
    model = load(export(tmp_path / "m.pt2"), SPEC, max_batch_size=3, compute=compute)
    assert [float(p) for p in model.predict(rows_of(3))] == [2, 3, 4]


def test_the_old_models_memory_is_freed(tmp_path: Path) -> None:
    path = export(tmp_path / "m.pt2")
    before = torch.cuda.memory_allocated()
    model: Any = load(path, SPEC, max_batch_size=3, compute=Compute("gpu"))
    assert torch.cuda.memory_allocated() > before
    del model
    gc.collect()
    assert torch.cuda.memory_allocated() == before
