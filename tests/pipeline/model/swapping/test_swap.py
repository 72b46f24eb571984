"""Swaps between real models, on this machine and on another filesystem."""

from __future__ import annotations

import gc
import json
import tempfile
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.inference.local.beam_files import BEAM_FILES
from pipeline.model import golden
from pipeline.model.active_model import ActiveModel
from pipeline.model.load import load as load_model
from pipeline.model.model import Model
from pipeline.model.swapping.pointer import ModelPointer
from pipeline.model.swapping.watcher import ModelWatcher
from pipeline.request.input_spec import InputSpec
from tests.pipeline.memory_files import OBJECTS
from tests.pipeline.models import Linear, Sum
from tests.waiting import wait_until

SPEC = InputSpec.parse("3")
SUM = "tests.pipeline.models:Sum"
ROW = np.array([1, 1, 1], np.float32)


@pytest.fixture(autouse=True)
def no_objects() -> Iterator[None]:
    OBJECTS.clear()
    yield
    OBJECTS.clear()


def load(path: str) -> Model:
    """As the job loads what a pointer leads to."""
    label = f"--model_pointer: {path}"
    with tempfile.TemporaryDirectory() as folder:
        model = load_model(
            str(BEAM_FILES.fetch(path, Path(folder))),
            SPEC,
            model_class=SUM if path.endswith(".pt") else None,
            max_batch_size=4,
            label=label,
        )
        golden_file = BEAM_FILES.fetch(path + golden.SUFFIX, Path(folder))
        golden.check(model, golden_file, SPEC, "fp32", max_batch_size=4, label=label)
    return model


def write_model(folder: Path, name: str, scale: float, golden_scale: float | None = None) -> None:
    """Write a model of `scale` times the sum, and its golden set (for `golden_scale`, if given)."""
    if name.endswith(".pt"):
        torch.save(Sum(scale).state_dict(), folder / name)
    else:
        shapes = {"features": {0: torch.export.Dim("batch")}}
        module = Linear()
        torch.nn.init.constant_(module.weight, scale)
        torch.export.save(
            torch.export.export(module, (torch.zeros(2, 3),), dynamic_shapes=shapes), folder / name
        )
    lines = [{"features": [i, 1, 1], "prediction": (golden_scale or scale) * (i + 2)} for i in range(10)]
    (folder / (name + golden.SUFFIX)).write_text("\n".join(map(json.dumps, lines)))


def weights_of(model: Model) -> list[weakref.ref[torch.Tensor]]:
    """Return references to a model's weights, held by a module or by the function of an export."""
    forward: Any = model._forward
    module = isinstance(forward, torch.nn.Module)
    held = forward.parameters() if module else forward.__globals__.values()
    return [weakref.ref(each) for each in held if isinstance(each, torch.Tensor)]


class TestRealModels:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        write_model(tmp_path, "v1.pt2", 1)
        write_model(tmp_path, "v2.pt2", 2)
        write_model(tmp_path, "v3.pt", 3)
        write_model(tmp_path, "wrong.pt2", 4, golden_scale=5)
        return tmp_path

    @pytest.mark.parametrize("remote", [False, True])
    def test_there_and_back(self, folder: Path, remote: bool, caplog: pytest.LogCaptureFixture) -> None:
        def point_to(content: str) -> None:
            if remote:
                OBJECTS["memory://bucket/current"] = content.encode()
            else:
                (folder / "current").write_text(content)

        if remote:
            for file in folder.iterdir():
                OBJECTS[f"memory://bucket/{file.name}"] = file.read_bytes()
        point_to("v1.pt2")
        pointer = ModelPointer(BEAM_FILES, "memory://bucket/current" if remote else str(folder / "current"))
        path = pointer.path()
        active = ActiveModel(load(path), path)
        first_id = active.model.model_id
        watcher = ModelWatcher(active, pointer, load, 0.001)
        watcher.start()
        try:
            for name, scale in (("v2.pt2", 2), ("v1.pt2", 1), ("v3.pt", 3), ("v1.pt2", 1)):
                point_to(name)
                wait_until(lambda name=name: active.model.model_id.startswith(f"{name}@"))  # type: ignore[misc]
                assert float(active.model.predict([ROW])[0]) == 3 * scale
            assert active.model.model_id == first_id
            point_to("wrong.pt2")
            wait_until(lambda: f"wrong.pt2{golden.SUFFIX}, line 1: prediction: the model" in caplog.text)
            point_to("gone.pt2")
            wait_until(lambda: "gone.pt2" in caplog.text and "there is no file" in caplog.text)
        finally:
            watcher.close()
        assert active.take_counts() == (4, 2)
        assert active.model.model_id == first_id

    @pytest.mark.parametrize("name", ["v1.pt2", "v3.pt"])
    def test_the_old_weights_are_freed(self, folder: Path, name: str) -> None:
        active = ActiveModel(load(str(folder / name)), str(folder / name))
        (folder / "current").write_text("v2.pt2")
        old = weakref.ref(active.model)
        weights = weights_of(active.model)
        assert weights
        watcher = ModelWatcher(active, ModelPointer(BEAM_FILES, str(folder / "current")), load, 0.001)
        watcher.start()
        wait_until(lambda: old() is None)
        gc.collect()
        assert [weight() for weight in weights] == [None]
        watcher.close()
