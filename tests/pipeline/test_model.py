import logging
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.errors import InferenceError, ModelError
from pipeline.inference.model import Model, load
from pipeline.input_spec import InputSpec
from tests.pipeline.models import Linear, Named, Sum

SPEC = InputSpec.parse("3")
SUM = "tests.pipeline.models:Sum"


def row(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def export(path: Path, batch: object, module: torch.nn.Module | None = None) -> str:
    shapes = {"features": {0: batch}} if batch is not None else None
    program = torch.export.export(module or Linear(), (torch.zeros(2, 3),), dynamic_shapes=shapes)
    torch.export.save(program, path)
    return str(path)


@pytest.fixture
def state_dict(tmp_path: Path) -> str:
    torch.save(Sum().state_dict(), tmp_path / "sum.pt")
    return str(tmp_path / "sum.pt")


class TestExport:
    def test_any_batch_size(self, tmp_path: Path) -> None:
        model = load(export(tmp_path / "m.pt2", torch.export.Dim("batch")), SPEC, max_batch_size=7)
        for rows in (1, 2, 3, 7):
            assert [float(p) for p in model.predict([row(i, 1, 1) for i in range(rows)])] == [
                i + 2 for i in range(rows)
            ]
        assert model.model_id.startswith("m.pt2@")

    def test_fixed_batch_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(
            ModelError,
            match=r"--model_path: .*exported for a fixed batch .*dynamic_shapes=\{'features': \{0: torch",
        ):
            load(export(tmp_path / "m.pt2", None), SPEC)

    def test_batch_limit_below_ours_is_refused(self, tmp_path: Path) -> None:
        path = export(tmp_path / "m.pt2", torch.export.Dim("batch", max=16))
        load(path, SPEC, max_batch_size=16)
        with pytest.raises(ModelError, match="at most 16 rows, --max_batch_size is 17"):
            load(path, SPEC, max_batch_size=17)

    def test_another_input_shape_is_refused(self, tmp_path: Path) -> None:
        path = export(tmp_path / "m.pt2", torch.export.Dim("batch"))
        with pytest.raises(ModelError, match=r"\(--input_shape\)"):
            load(path, InputSpec.parse("4"))
        with pytest.raises(ModelError, match="takes 1 inputs .*--input_shape names 2"):
            load(path, InputSpec.parse("a:float32:3,b:float32:3"))


class TestTorchScript:
    def test_works_with_a_notice(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        path = str(tmp_path / "m.pt")
        torch.jit.trace(Linear(), torch.zeros(2, 3)).save(path)
        with caplog.at_level(logging.WARNING):
            model = load(path, SPEC)
        assert "deprecated" in caplog.text
        assert [float(p) for p in model.predict([row(1, 2, 3), row(4, 5, 6)])] == [6, 15]


class TestStateDict:
    def test_class_and_params(self, tmp_path: Path) -> None:
        torch.save(Sum(3).state_dict(), tmp_path / "m.pt")
        model = load(str(tmp_path / "m.pt"), SPEC, model_class=SUM, model_params={"scale": 9})
        assert float(model.predict([row(1, 1, 1)])[0]) == 9

    def test_without_a_class_is_refused(self, state_dict: str) -> None:
        with pytest.raises(ModelError, match="--model_class=module:Class"):
            load(state_dict, SPEC)

    @pytest.mark.parametrize(
        ("model_class", "params", "reason"),
        [
            ("tests.pipeline.models:Gone", {}, "--model_class: cannot import"),
            ("no.such.module:Sum", {}, "--model_class: cannot import"),
            ("tests.pipeline.models:NotAModule", {}, "is not a torch.nn.Module"),
            (SUM, {"wrong": 1}, "--model_params: .*wrong"),
            ("tests.pipeline.models:Named", {}, "is not a state_dict of"),
        ],
    )
    def test_refuses(self, state_dict: str, model_class: str, params: dict, reason: str) -> None:
        with pytest.raises(ModelError, match=reason):
            load(state_dict, SPEC, model_class=model_class, model_params=params)

    def test_a_pickle_that_runs_code_is_refused(self, tmp_path: Path) -> None:
        class Bomb:
            def __reduce__(self) -> tuple:
                return (Path.touch, (tmp_path / "exploded",))

        (tmp_path / "m.pt").write_bytes(pickle.dumps(Bomb()))
        with pytest.raises(ModelError, match="is not a state_dict"):
            load(str(tmp_path / "m.pt"), SPEC, model_class=SUM)
        assert not (tmp_path / "exploded").exists()


class TestFile:
    def test_missing(self, tmp_path: Path) -> None:
        with pytest.raises(ModelError, match="there is no file"):
            load(str(tmp_path / "gone.pt2"), SPEC)

    def test_an_input_larger_than_memory(self, tmp_path: Path) -> None:
        path = export(tmp_path / "m.pt2", torch.export.Dim("batch"))
        with pytest.raises(ModelError, match="--input_shape"):
            load(path, InputSpec.parse("1000000000000000"))

    def test_cut_off(self, tmp_path: Path) -> None:
        path = Path(export(tmp_path / "m.pt2", torch.export.Dim("batch")))
        path.write_bytes(path.read_bytes()[:1000])
        with pytest.raises(ModelError, match="is neither a torch.export"):
            load(str(path), SPEC)

    def test_the_id_tells_weights_apart(self, tmp_path: Path) -> None:
        ids = set()
        for scale in (1, 2, 2):
            torch.save(Sum(scale).state_dict(), tmp_path / "m.pt")
            ids.add(load(str(tmp_path / "m.pt"), SPEC, model_class=SUM).model_id)
        assert len(ids) == 2


class TestPredict:
    def test_named_inputs_and_outputs(self) -> None:
        model = Model(Named(), InputSpec.parse("ids:int64:2,scale:float32:1"), "named")
        rows = [{"ids": np.array([i, 1]), "scale": np.array([2], np.float32)} for i in range(2)]
        first, second = model.predict(rows)  # type: ignore[arg-type]
        assert (first["total"], second["total"]) == (1, 2)
        assert second["scaled"].tolist() == [2, 2]

    def test_one_answer_for_the_whole_batch(self) -> None:
        model = Model(lambda features: features.sum(), SPEC, "sum")
        with pytest.raises(InferenceError, match=r"shape \[\] for 2 requests"):
            model.predict([row(1, 2, 3), row(4, 5, 6)])

    def test_no_tensor(self) -> None:
        with pytest.raises(InferenceError, match="returned str"):
            Model(lambda features: "x", SPEC, "text").predict([row(1, 2, 3)])
