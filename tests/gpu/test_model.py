"""Models on a GPU: loaded from every format, in every precision, by several threads, compiled, freed."""

from __future__ import annotations

import gc
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FunctionType
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.model.compute import Compute
from pipeline.model.load import load
from pipeline.request.errors import ModelError
from pipeline.request.input_spec import Inputs
from tests.gpu import needs_cuda
from tests.gpu.models import Layers
from tests.pipeline.model.files.test_model_files import export, state, trace
from tests.pipeline.model.test_model import SPEC, row, rows_of
from tests.pipeline.models import Layers as CpuLayers

pytestmark = needs_cuda


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
@pytest.mark.parametrize(
    ("write", "module", "model_class"),
    [(export, CpuLayers(), None), (trace, CpuLayers(), None), (state, Layers(), "tests.gpu.models:Layers")],
)
def test_every_format_as_on_the_cpu(
    tmp_path: Path,
    precision: str,
    write: Callable[..., str],
    module: torch.nn.Module,
    model_class: str | None,
) -> None:
    path = write(tmp_path / "m", module=module)
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


def test_an_export_is_called_as_a_function_on_the_cpu_alone(tmp_path: Path) -> None:
    path = export(tmp_path / "m.pt2")
    for device, kind in (("cpu", FunctionType), ("gpu", torch.fx.GraphModule)):
        assert isinstance(load(path, SPEC, compute=Compute(device, cuda_graphs=False))._forward, kind)


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
    # The first call on a stream makes cuBLAS's workspace, which stays.
    load(path, SPEC, max_batch_size=3, compute=Compute("gpu")).warm_up()
    gc.collect()
    before = torch.cuda.memory_allocated()
    model: Any = load(path, SPEC, max_batch_size=3, compute=Compute("gpu"))
    model.warm_up()
    assert torch.cuda.memory_allocated() > before
    del model
    gc.collect()
    assert torch.cuda.memory_allocated() == before


def test_a_tensor_that_is_no_buffer_is_refused_at_load(tmp_path: Path) -> None:
    """Moving a module leaves its plain attributes behind."""
    path = state(tmp_path / "m.pt", module=CpuLayers())
    with pytest.raises(ModelError, match=r"on cuda:0 \(.*same device"):
        load(path, SPEC, model_class="tests.pipeline.models:Layers", compute=Compute("gpu"))
