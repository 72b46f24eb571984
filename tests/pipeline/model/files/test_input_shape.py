"""Shapes and dtypes read from .pt2 files of each kind of signature."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.model.files import input_shape as module
from pipeline.model.files.input_shape import UnknownShapeError, input_shape

BATCH = torch.export.Dim("batch")
IDS = torch.zeros(2, 4, dtype=torch.int64)


class Named(torch.nn.Module):
    def forward(self, ids: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        return ids.sum(dim=1) * scale.sum(dim=1)


class FromDict(torch.nn.Module):
    def forward(self, x: dict[str, torch.Tensor]) -> torch.Tensor:
        return x["a"] + x["b"]


class WithNumber(torch.nn.Module):
    def forward(self, x: torch.Tensor, power: int) -> torch.Tensor:
        return x**power


def save(path: Path, model: torch.nn.Module, args: tuple[Any, ...], kwargs: Any, shapes: Any) -> None:
    torch.export.save(torch.export.export(model, args, kwargs, dynamic_shapes=shapes), path)


def export_named(path: Path) -> None:
    """Write a model of `ids`, four integers, and `scale`, three floats."""
    inputs = {"ids": IDS, "scale": torch.zeros(2, 3)}
    save(path, Named(), (), inputs, {"ids": {0: BATCH}, "scale": {0: BATCH}})


@pytest.mark.parametrize(
    ("model", "args", "kwargs", "shapes", "expected"),
    [
        (torch.nn.Linear(3, 2), (torch.zeros(2, 3),), None, ({0: BATCH},), "3"),
        (torch.nn.Linear(3, 2), (torch.zeros(2, 3),), None, None, "3"),
        (torch.nn.Conv2d(3, 8, 3), (torch.zeros(2, 3, 32, 16),), None, ({0: BATCH},), "3x32x16"),
        (torch.nn.Linear(3, 2).half(), (torch.zeros(2, 3).half(),), None, ({0: BATCH},), "3"),
        (torch.nn.ReLU(), (torch.zeros(2, 3).double(),), None, ({0: BATCH},), "input:float64:3"),
        (torch.nn.Identity(), (torch.zeros(2, 3).byte(),), None, ({0: BATCH},), "input:uint8:3"),
        (torch.nn.Identity(), (torch.zeros(2, 3).bool(),), None, ({0: BATCH},), "input:bool:3"),
        (torch.nn.Linear(3, 2), (), {"input": torch.zeros(2, 3)}, {"input": {0: BATCH}}, "input:float32:3"),
        (Named(), (IDS, torch.zeros(2, 3)), None, ({0: BATCH}, {0: BATCH}), "ids:int64:4,scale:float32:3"),
        (
            Named(), (), {"scale": torch.zeros(2, 3), "ids": IDS.int()},
            {"scale": {0: BATCH}, "ids": {0: BATCH}}, "scale:float32:3,ids:int32:4",
        ),
    ],
)  # fmt: skip
def test_what_the_file_says(
    model: torch.nn.Module, args: tuple[Any, ...], kwargs: Any, shapes: Any, expected: str, tmp_path: Path
) -> None:
    save(tmp_path / "m.pt2", model, args, kwargs, shapes)
    assert input_shape(str(tmp_path / "m.pt2")) == expected
    with (tmp_path / "m.pt2").open("rb") as file:
        assert input_shape(file) == expected


@pytest.mark.parametrize(
    ("model", "args", "shapes", "reason"),
    [
        (FromDict(), ({"a": IDS, "b": IDS + 1},), ({"a": {0: BATCH}, "b": {0: BATCH}},), "a list or dict"),
        (WithNumber(), (torch.zeros(2, 3), 2), ({0: BATCH}, None), r"2 inputs \(x, power\), 1 are tensors"),
        (torch.nn.ReLU(), (torch.zeros(2),), ({0: BATCH},), "no fixed shape beside the batch"),
        (torch.nn.ReLU(), (torch.zeros(2, 3),), ({0: BATCH, 1: torch.export.Dim("n")},), "no fixed shape"),
        (torch.nn.ReLU(), (torch.zeros(2, 3, dtype=torch.complex64),), ({0: BATCH},), "no request can have"),
    ],
)  # fmt: skip
def test_what_no_flag_can_name_is_refused_with_the_reason(
    model: torch.nn.Module, args: tuple[Any, ...], shapes: Any, reason: str, tmp_path: Path
) -> None:
    save(tmp_path / "m.pt2", model, args, None, shapes)
    with pytest.raises(UnknownShapeError, match=reason):
        input_shape(str(tmp_path / "m.pt2"))


def test_other_files_say_nothing(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(3, 2).state_dict(), tmp_path / "m.pt")
    (tmp_path / "text").write_text("no archive")
    assert input_shape(str(tmp_path / "m.pt")) is None
    assert input_shape(str(tmp_path / "text")) is None
    with pytest.raises(OSError, match="No such file"):
        input_shape(str(tmp_path / "gone"))


@pytest.mark.timeout(60)
def test_a_fifo_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "m.pt2")
    with pytest.raises(OSError, match="no regular file"):
        input_shape(str(tmp_path / "m.pt2"))


def description(**changes: Any) -> dict[str, Any]:
    """Return the least of a program's description that is read."""
    in_spec = [1, {"type": "tuple", "children_spec": [
        {"type": "tuple", "children_spec": [{"type": None, "children_spec": []}]},
        {"type": "dict", "context": "[]", "children_spec": []},
    ]}]  # fmt: skip
    return {
        "graph_module": {
            "graph": {"tensor_values": {"x": {"dtype": 7, "sizes": [{"as_int": 2}, {"as_int": 3}]}}},
            "signature": {"input_specs": [{"user_input": {"arg": {"as_tensor": {"name": "x"}}}}]},
            "module_call_graph": [
                {"signature": {"in_spec": json.dumps(in_spec), "forward_arg_names": ["x"]}}
            ],
            **changes,
        }
    }


def write(path: Path, *contents: bytes) -> str:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for number, content in enumerate(contents):
            archive.writestr(f"m/models/model{number}.json", content)
    return str(path)


def test_a_hostile_description_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = json.dumps(description()).encode()
    assert input_shape(write(tmp_path / "good", good)) == "3"
    hostile = [
        b"", b"[]", b"{", b"null", b"[" * 100_000, json.dumps(description(graph=[])).encode(),
        json.dumps(description(module_call_graph=[{"signature": None}])).encode(),
        json.dumps(description(module_call_graph=[{"signature": {"in_spec": "[1, 2]"}}])).encode(),
        json.dumps(description(signature={"input_specs": []})).encode(),
        json.dumps(description(graph={"tensor_values": {"x": {"dtype": [], "sizes": [1, {}]}}})).encode(),
    ]  # fmt: skip
    for number, content in enumerate(hostile):
        with pytest.raises(UnknownShapeError):
            input_shape(write(tmp_path / f"hostile{number}", content))
    with pytest.raises(UnknownShapeError, match="2 programs"):
        input_shape(write(tmp_path / "two", good, good))
    monkeypatch.setattr(module, "MAX_BYTES", len(good) - 1)
    with pytest.raises(UnknownShapeError, match="more than"):
        input_shape(write(tmp_path / "large", good))
