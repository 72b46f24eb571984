from __future__ import annotations

import io
import json
import logging
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.model.files import model_files
from pipeline.request.errors import ModelError
from pipeline.request.input_spec import InputSpec
from tests.pipeline.models import Layers, Linear, Sum

SPEC = InputSpec.parse("3")
SUM = "tests.pipeline.models:Sum"
BATCH = torch.export.Dim("batch")


def export(path: Path, batch: object = BATCH, module: torch.nn.Module | None = None) -> str:
    shapes = {"features": {0: batch}} if batch is not None else None
    program = torch.export.export(module or Linear(), (torch.zeros(2, 3),), dynamic_shapes=shapes)
    torch.export.save(program, path)
    return str(path)


def trace(path: Path, module: torch.nn.Module | None = None) -> str:
    torch.jit.trace(module or Linear(), torch.zeros(2, 3), strict=False).save(path)
    return str(path)


def state(path: Path, module: torch.nn.Module | None = None) -> str:
    torch.save((module or Sum()).state_dict(), path)
    return str(path)


def read(
    path: str,
    spec: InputSpec = SPEC,
    model_class: str | None = None,
    model_params: dict[str, Any] | None = None,
    max_batch_size: int = 8,
) -> torch.nn.Module:
    return model_files.read(
        path,
        spec,
        model_class=model_class,
        model_params=model_params or {},
        max_batch_size=max_batch_size,
        device=torch.device("cpu"),
        label="--model_pointer: gs://bucket/m",
    )


class Bomb:
    """An object that makes a file when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self._file,))


class TestExport:
    def test_gives_a_module(self, tmp_path: Path) -> None:
        module = read(export(tmp_path / "m.pt2", module=Layers()))
        answer = module(torch.tensor([[1.0, 2, 3]]))
        assert answer["scores"].tolist() == [[3, 21]]
        assert answer["best"].tolist() == [1]

    def test_fixed_batch_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(
            ModelError,
            match=r"--model_pointer: gs://bucket/m was exported for a fixed batch "
            r".*dynamic_shapes=\{'features': \{0: torch",
        ):
            read(export(tmp_path / "m.pt2", None))

    def test_batch_limit_below_ours_is_refused(self, tmp_path: Path) -> None:
        path = export(tmp_path / "m.pt2", torch.export.Dim("batch", max=16))
        read(path, max_batch_size=16)
        with pytest.raises(ModelError, match="at most 16 rows, --max_batch_size is 17"):
            read(path, max_batch_size=17)

    def test_another_number_of_inputs_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ModelError, match="takes 1 inputs .*--input_shape names 2"):
            read(export(tmp_path / "m.pt2"), InputSpec.parse("a:float32:3,b:float32:3"))


class TestExportWithCode:
    """Code in an export, which torch.export.load by itself would run."""

    @pytest.fixture
    def exploded(self, tmp_path: Path) -> Path:
        return tmp_path / "exploded"

    def rewritten(self, tmp_path: Path, change: Callable[[dict[str, bytes]], None]) -> str:
        """Write an export with parts of its archive changed."""
        with zipfile.ZipFile(export(tmp_path / "m.pt2", module=Layers())) as archive:
            parts = {name.split("/", 1)[1]: archive.read(name) for name in archive.namelist()}
        change(parts)
        with zipfile.ZipFile(tmp_path / "bomb.pt2", "w") as archive:
            for name, content in parts.items():
                archive.writestr(f"m/{name}", content)
        return str(tmp_path / "bomb.pt2")

    def saved(self, bomb: Any) -> bytes:
        content = io.BytesIO()
        torch.save(bomb, content)
        return content.getvalue()

    def test_harmless(self, tmp_path: Path) -> None:
        assert read(self.rewritten(tmp_path, lambda parts: None)) is not None

    def test_example_inputs(self, tmp_path: Path, exploded: Path) -> None:
        def change(parts: dict[str, bytes]) -> None:
            parts["data/sample_inputs/model.pt"] = self.saved((Bomb(exploded),))

        self.refused(self.rewritten(tmp_path, change), "sample_inputs/model.pt", exploded)

    @pytest.mark.parametrize(
        ("config", "prefix"),
        [("weights/model_weights", "weight_"), ("constants/model_constants", "tensor_")],
    )
    def test_pickled_tensors(self, tmp_path: Path, exploded: Path, config: str, prefix: str) -> None:
        def change(parts: dict[str, bytes]) -> None:
            name = f"data/{config}_config.json"
            content = json.loads(parts[name])
            part = next(iter(content["config"].values()))
            assert part["path_name"].startswith(prefix)
            part["use_pickle"] = True
            parts[name] = json.dumps(content).encode()
            parts[f"data/{config.partition('/')[0]}/{part['path_name']}"] = self.saved(Bomb(exploded))

        self.refused(self.rewritten(tmp_path, change), prefix, exploded)

    def test_constants_that_are_no_tensors(self, tmp_path: Path, exploded: Path) -> None:
        def change(parts: dict[str, bytes]) -> None:
            name = "data/constants/model_constants_config.json"
            content = json.loads(parts[name])
            next(iter(content["config"].values()))["path_name"] = "opaque_obj_0"
            parts[name] = json.dumps(content).encode()
            parts["data/constants/opaque_obj_0"] = pickle.dumps(Bomb(exploded))

        self.refused(self.rewritten(tmp_path, change), "opaque_obj_0", exploded)

    def test_weights_of_an_older_format(self, tmp_path: Path, exploded: Path) -> None:
        def change(parts: dict[str, bytes]) -> None:
            parts["data/weights/model.pt"] = self.saved({"linear.weight": Bomb(exploded)})

        self.refused(self.rewritten(tmp_path, change), "weights/model.pt", exploded)

    def refused(self, path: str, part: str, exploded: Path) -> None:
        with pytest.raises(ModelError, match=rf"gs://bucket/m is refused: its part \S*{part}"):
            read(path)
        assert not exploded.exists()


class TestTorchScript:
    def test_works_with_a_notice(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level(logging.WARNING):
            module = read(trace(tmp_path / "m.pt"))
        assert "deprecated" in caplog.text
        assert module(torch.tensor([[1.0, 2, 3]])).tolist() == [6]


class TestStateDict:
    def test_class_and_params(self, tmp_path: Path) -> None:
        module = read(state(tmp_path / "m.pt", Sum(3)), model_class=SUM, model_params={"scale": 9})
        assert module(torch.ones(1, 3)).tolist() == [9]
        assert not module.training

    def test_of_before_the_archives(self, tmp_path: Path) -> None:
        torch.save(Sum(3).state_dict(), tmp_path / "m.pt", _use_new_zipfile_serialization=False)
        assert read(str(tmp_path / "m.pt"), model_class=SUM)(torch.ones(1, 3)).tolist() == [9]

    def test_the_file_may_go_once_it_is_read(self, tmp_path: Path) -> None:
        path = state(tmp_path / "m.pt", Sum(3))
        module = read(path, model_class=SUM)
        Path(path).write_bytes(bytes(Path(path).stat().st_size))
        assert module(torch.ones(1, 3)).tolist() == [9]

    def test_without_a_class_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ModelError, match="--model_class=module:Class"):
            read(state(tmp_path / "m.pt"))

    @pytest.mark.parametrize(
        ("model_class", "params", "reason"),
        [
            ("tests.pipeline.models:Gone", {}, "--model_class: cannot import"),
            ("no.such.module:Sum", {}, "--model_class: cannot import"),
            ("tests.pipeline.models:NotAModule", {}, "is not a torch.nn.Module"),
            (SUM, {"wrong": 1}, "--model_params: .*wrong"),
            ("tests.pipeline.models:Named", {}, "gs://bucket/m is not a state_dict of"),
        ],
    )
    def test_refuses(self, tmp_path: Path, model_class: str, params: dict[str, Any], reason: str) -> None:
        with pytest.raises(ModelError, match=reason):
            read(state(tmp_path / "m.pt"), model_class=model_class, model_params=params)

    def test_other_sizes(self, tmp_path: Path) -> None:
        torch.save({"weight": torch.zeros(4)}, tmp_path / "m.pt")
        with pytest.raises(
            ModelError, match=r"is not a state_dict of .*Sum: (?s:.*)size mismatch for weight"
        ):
            read(str(tmp_path / "m.pt"), model_class=SUM)

    @pytest.mark.parametrize("save", [pickle.dump, torch.save])
    def test_a_pickle_that_runs_code_is_refused(
        self, tmp_path: Path, save: Callable[[Any, Any], None]
    ) -> None:
        with open(tmp_path / "m.pt", "wb") as file:
            save({"weight": Bomb(tmp_path / "exploded")}, file)
        with pytest.raises(ModelError, match="is not a state_dict"):
            read(str(tmp_path / "m.pt"), model_class=SUM)
        assert not (tmp_path / "exploded").exists()

    def test_a_whole_module_is_refused(self, tmp_path: Path) -> None:
        torch.save(Sum(), tmp_path / "m.pt")
        with pytest.raises(
            ModelError,
            match=r"is not a state_dict of .*: Unsupported global: .*models.Sum .*: save the",
        ):
            read(str(tmp_path / "m.pt"), model_class=SUM)
        with pytest.raises(ModelError, match="is neither a torch.export"):
            read(str(tmp_path / "m.pt"))


class TestDamaged:
    @pytest.mark.parametrize("write", [export, trace, state])
    @pytest.mark.parametrize("model_class", [None, SUM])
    @pytest.mark.parametrize("length", [0, 1000])
    def test_cut_off(
        self, tmp_path: Path, write: Callable[[Path], str], model_class: str | None, length: int
    ) -> None:
        path = Path(write(tmp_path / "m"))
        path.write_bytes(path.read_bytes()[:length])
        with pytest.raises(ModelError, match="gs://bucket/m is damaged: its end is missing"):
            read(str(path), model_class=model_class)

    def test_cut_off_of_before_the_archives(self, tmp_path: Path) -> None:
        torch.save(Sum().state_dict(), tmp_path / "m.pt", _use_new_zipfile_serialization=False)
        content = (tmp_path / "m.pt").read_bytes()
        # Where the parts of such a file end, it does not say: torch may find out in several ways.
        for length in (2, 50, len(content) // 2, len(content) - 1):
            (tmp_path / "m.pt").write_bytes(content[:length])
            with pytest.raises(ModelError, match=r"^--model_pointer: gs://bucket/m (is|cannot be) [a-z].*\w"):
                read(str(tmp_path / "m.pt"), model_class=SUM)

    @pytest.mark.parametrize(
        ("model_class", "message"), [(None, "is neither a torch.export"), (SUM, "is not a state_dict of")]
    )
    def test_another_format(self, tmp_path: Path, model_class: str | None, message: str) -> None:
        (tmp_path / "m.pt2").write_bytes(b"not a model\n")
        with pytest.raises(ModelError, match=message):
            read(str(tmp_path / "m.pt2"), model_class=model_class)

    @pytest.mark.parametrize(
        ("part", "message"),
        [
            ("models/model.json", "is refused: its part models/model.json is damaged: Unterminated string"),
            ("data.pkl", "cannot be loaded by torch.jit"),
        ],
    )
    def test_a_part_that_is_damaged(self, tmp_path: Path, part: str, message: str) -> None:
        write = export if part.endswith("json") else trace
        with zipfile.ZipFile(write(tmp_path / "whole.pt2")) as archive:
            parts = {name: archive.read(name) for name in archive.namelist()}
        with zipfile.ZipFile(tmp_path / "m.pt2", "w") as archive:
            for name, content in parts.items():
                archive.writestr(name, content[:20] if name.endswith(f"/{part}") else content)
        with pytest.raises(ModelError, match=f"gs://bucket/m {message}"):
            read(str(tmp_path / "m.pt2"))
