"""Inputs of every dtype reach a model, by keyword or by position as it takes them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.model import golden
from pipeline.model.compute import Compute
from pipeline.model.load import load
from pipeline.request.errors import ModelError
from pipeline.request.input_spec import InputSpec
from tests.pipeline.models import Mean, Named

DTYPES = ("float16", "float32", "float64", "uint8", "int8", "int16", "int32", "int64", "bool")
MODEL_CLASS = "tests.pipeline.models:Mean"


def by_position(path: Path, example: torch.Tensor) -> None:
    shapes = {"pixels": {0: torch.export.Dim("batch")}}
    torch.export.save(torch.export.export(Mean(), (example,), dynamic_shapes=shapes), path)


def by_keyword(path: Path, example: torch.Tensor) -> None:
    shapes = {"pixels": {0: torch.export.Dim("batch")}}
    torch.export.save(torch.export.export(Mean(), (), {"pixels": example}, dynamic_shapes=shapes), path)


def traced(path: Path, example: torch.Tensor) -> None:
    torch.jit.trace(Mean(), example).save(path)


def state(path: Path, example: torch.Tensor) -> None:
    torch.save(Mean().state_dict(), path)


WRITERS = (by_position, by_keyword, traced, state)


@pytest.fixture(params=WRITERS, ids=lambda writer: writer.__name__)
def writer(request: pytest.FixtureRequest) -> Callable[[Path, torch.Tensor], None]:
    return request.param


@pytest.mark.parametrize("name", ["pixels", "image"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_single_named_input(
    writer: Callable[[Path, torch.Tensor], None], name: str, dtype: str, tmp_path: Path
) -> None:
    path = tmp_path / "m.pt"
    writer(path, torch.zeros(2, 2, 2, dtype=getattr(torch, dtype)))
    spec = InputSpec.parse(f"{name}:{dtype}:2x2")
    model = load(str(path), spec, model_class=MODEL_CLASS if writer is state else None, max_batch_size=4)
    numbers = [[True, False], [True, True]] if dtype == "bool" else [[1, 0], [1, 1]]
    row = spec.from_json({"inputs": {name: numbers}})
    assert model.predict([row, spec.zeros()]) == [0.75, 0.0]


def test_a_single_input_without_a_name(writer: Callable[[Path, torch.Tensor], None], tmp_path: Path) -> None:
    path = tmp_path / "m.pt"
    writer(path, torch.zeros(2, 2))
    spec = InputSpec.parse("2")
    model = load(str(path), spec, model_class=MODEL_CLASS if writer is state else None, max_batch_size=4)
    assert model.predict([np.array([1, 2], np.float32)]) == [1.5]


def test_several_inputs_go_by_name(tmp_path: Path) -> None:
    """Their order proves nothing, so an export that has no names for them is refused."""
    path = tmp_path / "m.pt2"
    zeros = torch.zeros(2, 3, dtype=torch.int64)
    batch = {0: torch.export.Dim("batch")}
    program = torch.export.export(
        Named(), (zeros, zeros.clone()), dynamic_shapes={"ids": batch, "scale": batch}
    )
    torch.export.save(program, path)
    with pytest.raises(ModelError, match="kwarg keyword mismatch"):
        load(str(path), InputSpec.parse("ids:int64:3,scale:int64:3"))


@pytest.mark.parametrize("dtype", ["uint8", "bool", "float16"])
def test_a_golden_set(dtype: str, tmp_path: Path) -> None:
    path, spec = tmp_path / "m.pt2", InputSpec.parse(f"image:{dtype}:2")
    by_position(path, torch.zeros(2, 2, dtype=getattr(torch, dtype)))
    model = load(str(path), spec)
    lines = tmp_path / "m.pt2.golden.jsonl"
    lines.write_text(json.dumps({"inputs": {"image": [1, 0]}, "prediction": 0.5}))
    golden.check(model, lines, spec, "fp32")
    lines.write_text(json.dumps({"inputs": {"image": [1, 1]}, "prediction": 0.5}))
    with pytest.raises(ModelError, match="the model answers 1"):
        golden.check(model, lines, spec, "fp32")


def test_float16_is_cast_as_other_floats_are(tmp_path: Path) -> None:
    path, spec = tmp_path / "m.pt", InputSpec.parse("image:float16:2")
    state(path, torch.zeros(2, 2))
    model = load(str(path), spec, model_class=MODEL_CLASS, compute=Compute(precision="bf16"))
    assert model.predict([spec.from_arrays({"image": [1, 0]})]) == [0.5]
