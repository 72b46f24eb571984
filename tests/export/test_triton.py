"""A model repository out of a .pt2: what is in it, and what is refused before anything is written."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from export import onnx
from export.errors import ExportError
from export.model_config import CPU, GPU, ONNX, TORCHSCRIPT, Serving
from export.repository import RepositoryError
from export.triton import TritonExport, export
from pipeline.request.errors import ModelError
from tests.export.models import Attention, OnTheCpu, Repeating, Reshaping, save, save_named
from tests.export.pbtxt import parse
from tests.integration.conftest import MODEL

SERVING = Serving(max_batch_size=64, max_queue_size=512, instances=1, device=CPU, threads=1)
HAS_ONNX = all(importlib.util.find_spec(name) for name in onnx.PACKAGES)
needs_onnx = pytest.mark.skipif(not HAS_ONNX, reason=f"needs {', '.join(onnx.PACKAGES)}")


def wanted(model: Path, repository: Path, format: str = TORCHSCRIPT, **changes: Any) -> TritonExport:
    return replace(
        TritonExport(
            model_path=str(model),
            input_shape=None,
            repository=repository,
            model_name="mine",
            version=None,
            format=format,
            serving=SERVING,
        ),
        **changes,
    )


def files(folder: Path) -> dict[str, bytes]:
    """Return the bytes of all files by their paths, and of folders nothing."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b""
        for path in folder.rglob("*")
    }


def test_the_example_answers_as_its_pt2_does(tmp_path: Path) -> None:
    exported = export(wanted(MODEL, tmp_path / "repository"))
    assert exported.folder == tmp_path / "repository/mine/1"
    assert (exported.input_shape, list(exported.sizes)) == ("30", [1, 2, 3, 7, 64])
    assert [path.name for path in tmp_path.iterdir()] == ["repository"]
    assert sorted(files(tmp_path / "repository")) == [
        "mine",
        "mine/1",
        "mine/1/model.pt",
        "mine/config.pbtxt",
    ]
    script = torch.jit.load(exported.folder / "model.pt")
    module = torch.export.load(MODEL).module()
    with torch.inference_mode():
        for rows in (1, 2, 5, 64, 200):
            features = torch.randn(rows, 30)
            assert torch.allclose(script(features), module(features), atol=1e-6)


def test_the_file_holds_no_path_of_this_machine(tmp_path: Path) -> None:
    exported = export(wanted(MODEL, tmp_path / "repository"))
    content = (exported.folder / "model.pt").read_bytes()
    assert b"debug_pkl" not in content
    assert str(MODEL.parents[2]).encode() not in content


def test_the_config_of_the_example(tmp_path: Path) -> None:
    serving = Serving(max_batch_size=16, max_queue_size=100, instances=2, device=CPU, threads=3)
    exported = export(wanted(MODEL, tmp_path / "repository", serving=serving))
    zeros = {
        "key": ["INPUT__0"],
        "value": [{"data_type": ["TYPE_FP32"], "dims": [30], "zero_data": ["true"]}],
    }
    assert parse((exported.folder.parent / "config.pbtxt").read_text()) == {
        "name": ["mine"],
        "backend": ["pytorch"],
        "platform": ["pytorch_libtorch"],
        "max_batch_size": [16],
        "input": [{"name": ["INPUT__0"], "data_type": ["TYPE_FP32"], "dims": [30]}],
        # A scalar for each row.
        "output": [
            {"name": ["OUTPUT__0"], "data_type": ["TYPE_FP32"], "dims": [1], "reshape": [{"shape": []}]}
        ],
        "dynamic_batching": [{"default_queue_policy": [{"max_queue_size": [100]}]}],
        "instance_group": [{"kind": ["KIND_CPU"], "count": [2]}],
        "parameters": [{"key": ["INTRA_OP_THREAD_COUNT"], "value": [{"string_value": ["3"]}]}],
        "model_warmup": [
            {"name": [f"{rows} rows"], "batch_size": [rows], "inputs": [zeros], "count": [3]}
            for rows in (1, 16)
        ],
    }


def test_inputs_and_outputs_keep_their_names_and_their_order(tmp_path: Path) -> None:
    file = save_named(tmp_path / "named.pt2")
    exported = export(wanted(file, tmp_path / "repository"))
    config = parse((exported.folder.parent / "config.pbtxt").read_text())
    inputs = [(each["name"], each["data_type"], each["dims"]) for each in config["input"]]
    assert inputs == [(["ids"], ["TYPE_INT64"], [4]), (["scale"], ["TYPE_FP32"], [6])]
    assert [(each["name"], each["dims"]) for each in config["output"]] == [(["total"], [1]), (["rows"], [6])]
    # One that is named goes by position, in the order of the config: no __ is in the names.
    total, rows = torch.jit.load(exported.folder / "model.pt")(
        torch.ones(3, 4, dtype=torch.int64), torch.ones(3, 6)
    )
    assert (total.shape, rows.shape) == ((3,), (3, 6))
    assert torch.allclose(rows.sum(1), total)
    assert exported.input_shape == "ids:int64:4,scale:float32:6"


def test_on_a_gpu_there_are_no_threads_of_the_cpu(tmp_path: Path) -> None:
    exported = export(wanted(MODEL, tmp_path / "repository", serving=replace(SERVING, device=GPU)))
    config = parse((exported.folder.parent / "config.pbtxt").read_text())
    assert config["instance_group"] == [{"kind": ["KIND_GPU"], "count": [1]}]
    assert "parameters" not in config


@pytest.mark.parametrize(
    ("model", "shape"), [(Reshaping(), (6,)), (Attention(), (5, 8))], ids=["reshaping", "attention"]
)
def test_a_model_that_computes_with_the_number_of_rows(
    model: torch.nn.Module, shape: tuple[int, ...], tmp_path: Path
) -> None:
    file = save(tmp_path / "model.pt2", model, torch.zeros(2, *shape))
    script = torch.jit.load(export(wanted(file, tmp_path / "repository")).folder / "model.pt")
    with torch.inference_mode():
        for rows in (1, 5, 100):
            features = torch.randn(rows, *shape)
            assert torch.allclose(script(features), model(features), atol=1e-5)


def test_a_batch_size_that_a_trace_has_written_into_it_is_refused(tmp_path: Path) -> None:
    file = save(tmp_path / "repeating.pt2", Repeating(), torch.zeros(2, 3))
    before = files(tmp_path)
    with pytest.raises(ExportError) as caught:
        export(wanted(file, tmp_path / "repository"))
    said = str(caught.value)
    assert "on a random batch of 1 rows" in said
    assert "A trace has sizes of its example written into it" in said
    assert said.endswith("take --format=onnx")
    assert files(tmp_path) == before


def test_a_device_that_a_trace_has_written_into_it_is_refused_for_a_gpu(tmp_path: Path) -> None:
    file = save(tmp_path / "model.pt2", OnTheCpu(), torch.zeros(2, 3))
    with pytest.raises(ExportError, match="--device=gpu: the trace makes tensors on the CPU"):
        export(wanted(file, tmp_path / "repository", serving=replace(SERVING, device=GPU)))
    assert not (tmp_path / "repository").exists()
    assert export(wanted(file, tmp_path / "repository")).folder.is_dir()


def test_a_second_version_stands_beside_the_first(tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    export(wanted(MODEL, repository))
    before = files(repository)
    assert export(wanted(MODEL, repository, version=7)).folder == repository / "mine/7"
    assert export(wanted(MODEL, repository)).folder == repository / "mine/8"
    after = files(repository)
    assert {path: after[path] for path in before} == before
    assert {path for path in after if path.startswith("mine/8")} == {"mine/8", "mine/8/model.pt"}


def test_what_is_there_is_never_overwritten(tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    export(wanted(MODEL, repository))
    before = files(tmp_path)
    with pytest.raises(RepositoryError, match=r"mine/1 exists, and is not overwritten: .* for 2"):
        export(wanted(MODEL, repository, version=1))
    other = replace(SERVING, instances=2)
    with pytest.raises(RepositoryError, match=r"would have to change, from .*count: 1 .* to .*count: 2"):
        export(wanted(MODEL, repository, serving=other))
    named = save_named(tmp_path / "named.pt2")
    with pytest.raises(RepositoryError, match="or under another --model-name"):
        export(wanted(named, repository))
    named.unlink()
    assert files(tmp_path) == before
    assert export(wanted(MODEL, repository, serving=other, model_name="other")).folder.name == "1"
    assert {path: files(tmp_path)[path] for path in before} == before


def test_a_folder_that_is_no_models_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "repository/mine").mkdir(parents=True)
    (tmp_path / "repository/mine/notes").write_text("mine")
    with pytest.raises(RepositoryError, match="its config.pbtxt cannot be read"):
        export(wanted(MODEL, tmp_path / "repository"))
    assert sorted(files(tmp_path / "repository")) == ["mine", "mine/notes"]
    (tmp_path / "file").touch()
    with pytest.raises(RepositoryError, match="file is not a folder"):
        export(wanted(MODEL, tmp_path / "file"))


def test_what_is_no_export_is_refused(tmp_path: Path) -> None:
    script = tmp_path / "model.pt"
    torch.jit.save(torch.jit.script(torch.nn.Linear(3, 2)), str(script))
    with pytest.raises(ModelError, match=r"is not a torch.export file \(.pt2\)"):
        export(wanted(script, tmp_path / "repository"))
    fixed = tmp_path / "fixed.pt2"
    torch.export.save(torch.export.export(torch.nn.Linear(3, 2), (torch.zeros(2, 3),)), fixed)
    with pytest.raises(ModelError, match="was exported for a fixed batch"):
        export(wanted(fixed, tmp_path / "repository"))
    with pytest.raises(ModelError, match="there is no file"):
        export(wanted(tmp_path / "none.pt2", tmp_path / "repository"))
    assert not (tmp_path / "repository").exists()


class Indexed(torch.nn.Module):
    def forward(self, x__1: torch.Tensor, x__0: torch.Tensor) -> torch.Tensor:
        return x__1 - x__0


def test_a_name_that_triton_takes_for_a_position_is_refused(tmp_path: Path) -> None:
    file = save(tmp_path / "indexed.pt2", Indexed(), x__1=torch.zeros(2, 3), x__0=torch.zeros(2, 3))
    with pytest.raises(ExportError, match="'x__1', in which Triton's PyTorch backend takes the number"):
        export(wanted(file, tmp_path / "repository"))


class Half(torch.nn.Module):
    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return features.to(torch.bfloat16)


def test_an_output_that_the_job_cannot_read_is_refused(tmp_path: Path) -> None:
    file = save(tmp_path / "half.pt2", Half(), torch.zeros(2, 3))
    with pytest.raises(ExportError, match=r"OUTPUT__0 is torch.bfloat16, which the job cannot read"):
        export(wanted(file, tmp_path / "repository"))


def test_onnx_without_its_packages_names_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        ExportError, match="--format=onnx needs onnx, onnxscript, onnxruntime, which this Python"
    ):
        export(wanted(MODEL, tmp_path / "repository", format=ONNX))


@needs_onnx
@pytest.mark.slow
def test_onnx_takes_what_a_trace_cannot(tmp_path: Path) -> None:
    file = save(tmp_path / "repeating.pt2", Repeating(), torch.zeros(2, 3))
    exported = export(wanted(file, tmp_path / "repository", format=ONNX))
    assert sorted(path.name for path in exported.folder.iterdir()) == ["model.onnx"]
    config = parse((exported.folder.parent / "config.pbtxt").read_text())
    assert config["backend"] == ["onnxruntime"]
    assert config["parameters"][0]["key"] == ["intra_op_thread_count"]
    features = torch.randn(11, 3)
    (answer,) = onnx.load(exported.folder / "model.onnx")(features)
    assert torch.allclose(answer, torch.export.load(file).module()(features), atol=1e-5)


@needs_onnx
@pytest.mark.slow
def test_onnx_keeps_names(tmp_path: Path) -> None:
    exported = export(wanted(save_named(tmp_path / "named.pt2"), tmp_path / "repository", format=ONNX))
    assert [tensor.name for tensor in (*exported.inputs, *exported.outputs)] == [
        "ids",
        "scale",
        "total",
        "rows",
    ]
