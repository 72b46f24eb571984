from __future__ import annotations

import gc
import hashlib
import json
import weakref
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.model import load as load_module
from pipeline.model.compiling import Compiled, padded_sizes
from pipeline.model.compute import Compute
from pipeline.model.load import load
from pipeline.model.model import Model
from pipeline.request.errors import InferenceError, ModelError
from pipeline.request.input_spec import Inputs, InputSpec
from tests.pipeline.model.files.test_model_files import export, state, trace
from tests.pipeline.model.test_compiling import Counting, needs_compiler
from tests.pipeline.models import Branching, Fp32Only, Layers, Linear, Named, Squares, Squeezing, Sum

SPEC = InputSpec.parse("3")
SUM = "tests.pipeline.models:Sum"
LAYERS = "tests.pipeline.models:Layers"
FP32_ONLY = "tests.pipeline.models:Fp32Only"
LINEAR = "tests.pipeline.models:Linear"
FORMATS = [(export, None), (trace, None), (state, LAYERS)]


def row(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def rows_of(number: int) -> list[Inputs]:
    return [row(i, 1, 1) for i in range(number)]


class TestLoad:
    def test_any_batch_size(self, tmp_path: Path) -> None:
        model = load(export(tmp_path / "m.pt2"), SPEC, max_batch_size=7)
        for rows in (1, 2, 3, 7):
            assert [float(p) for p in model.predict(rows_of(rows))] == [i + 2 for i in range(rows)]
        assert str(model) == f"model {model.model_id} on cpu"
        assert model.model_id.startswith("m.pt2@")
        assert model.device == "cpu"

    @pytest.mark.parametrize(("write", "model_class"), FORMATS)
    def test_every_format_answers_the_same(
        self, tmp_path: Path, write: Callable[..., str], model_class: str | None
    ) -> None:
        model = load(write(tmp_path / "m", module=Layers()), SPEC, model_class=model_class, max_batch_size=4)
        assert str(model.outputs) == '{"best": int, "scores": float[2]}'
        first, second = model.predict([row(1, 2, 3), row(9, 0, 0)])
        assert (first["scores"].tolist(), first["best"]) == ([3, 21], 1)
        assert (second["scores"].tolist(), second["best"]) == ([19, 1], 0)

    def test_model_params(self, tmp_path: Path) -> None:
        path = state(tmp_path / "m.pt", Sum(3))
        model = load(path, SPEC, model_class=SUM, model_params={"scale": 9})
        assert float(model.predict([row(1, 1, 1)])[0]) == 9

    def test_missing(self, tmp_path: Path) -> None:
        with pytest.raises(ModelError, match="--model_path: .*gone.pt2: there is no file"):
            load(str(tmp_path / "gone.pt2"), SPEC)

    def test_messages_name_the_model_as_they_are_told_to(self, tmp_path: Path) -> None:
        (tmp_path / "m.pt2").touch()
        for name in ("m.pt2", "gone.pt2"):
            with pytest.raises(ModelError, match=r"^--model_pointer: gs://b/v2\.pt2\b"):
                load(str(tmp_path / name), SPEC, label="--model_pointer: gs://b/v2.pt2")

    def test_another_input_shape(self, tmp_path: Path) -> None:
        with pytest.raises(
            ModelError, match=r"^--model_path: .*m.pt2 .*4 numbers.*\(--input_shape\), on cpu"
        ):
            load(export(tmp_path / "m.pt2"), InputSpec.parse("4"))

    def test_an_input_larger_than_memory(self, tmp_path: Path) -> None:
        with pytest.raises(ModelError, match="--input_shape"):
            load(export(tmp_path / "m.pt2"), InputSpec.parse("1000000000000000"))

    def test_rows_that_know_of_each_other(self, tmp_path: Path) -> None:
        path = export(tmp_path / "m.pt2", module=Squeezing())
        with pytest.raises(
            ModelError, match=r"is float\[1\] in a batch of 1, but float\[2\] in a batch of 2"
        ):
            load(path, SPEC, max_batch_size=2)

    @pytest.mark.parametrize(
        ("module", "message"),
        [("WholeBatch", r"shape \[\] for 1 requests"), ("Listing", "returned list: expected a tensor")],
    )
    def test_outputs_of_no_use(self, tmp_path: Path, module: str, message: str) -> None:
        torch.save({}, tmp_path / "m.pt")
        with pytest.raises(ModelError, match=message):
            load(str(tmp_path / "m.pt"), SPEC, model_class=f"tests.pipeline.models:{module}")

    def test_the_id_tells_weights_apart(self, tmp_path: Path) -> None:
        ids = {load(state(tmp_path / "m.pt", Sum(s)), SPEC, model_class=SUM).model_id for s in (1, 2, 2)}
        assert len(ids) == 2

    def test_a_file_that_changes_meanwhile(self, tmp_path: Path) -> None:
        # The id is that of the weights that were loaded, which are those of before.
        path = state(tmp_path / "m.pt", Linear())
        before = hashlib.sha256(Path(path).read_bytes()).hexdigest()
        model = load(path, SPEC, model_class="tests.pipeline.models:Rewriting", model_params={"path": path})
        assert hashlib.sha256(Path(path).read_bytes()).hexdigest() != before
        assert model.model_id == f"m.pt@{before[:12]}"

    def test_a_gpu_that_is_not_there(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: False)
        with pytest.raises(ModelError, match="^--device=gpu: "):
            load(export(tmp_path / "m.pt2"), SPEC, compute=Compute("gpu"))


class TestPredict:
    def test_named_inputs_and_outputs(self) -> None:
        model = Model(Named(), InputSpec.parse("ids:int64:2,scale:float32:1"), "named")
        rows: list[Inputs] = [{"ids": np.array([i, 1]), "scale": np.array([2], np.float32)} for i in range(2)]
        first, second = model.predict(rows)
        assert (first["total"], second["total"]) == (1, 2)
        assert second["scaled"].tolist() == [2, 2]
        assert str(model.outputs) == '{"scaled": float[2], "total": int}'

    def test_predictions_can_be_written_as_json(self) -> None:
        def forward(features: torch.Tensor) -> dict[str, torch.Tensor]:
            return OrderedDict(sum=features.sum(1), row=features, positive=features > 0)

        (prediction,) = Model(forward, SPEC, "m").predict([row(1, 2, 0)])
        assert json.dumps({name: value.tolist() for name, value in prediction.items()}) == (
            '{"sum": 3.0, "row": [1.0, 2.0, 0.0], "positive": [true, true, false]}'
        )

    def test_one_answer_for_the_whole_batch(self) -> None:
        model = Model(lambda features: features.sum(), SPEC, "sum")
        with pytest.raises(InferenceError, match=r"shape \[\] for 2 requests"):
            model.predict([row(1, 2, 3), row(4, 5, 6)])

    def test_no_tensor(self) -> None:
        with pytest.raises(InferenceError, match="returned str"):
            Model(lambda features: "x", SPEC, "text").predict([row(1, 2, 3)])

    def test_a_row_of_another_shape(self) -> None:
        with pytest.raises(InferenceError, match=r"features: expected shape \[3\], got \[2\]"):
            Model(Linear(), SPEC, "m").predict([row(1, 2), row(1, 2, 3, 4)])

    def test_by_many_threads_at_once(self) -> None:
        model = Model(Linear(), SPEC, "m")
        batches: list[list[Inputs]] = [[row(i, j, 0) for j in range(1 + i % 5)] for i in range(200)]
        with ThreadPoolExecutor(4) as threads:
            answers = list(threads.map(model.predict, batches))
        assert [[float(p) for p in answer] for answer in answers] == [
            [i + j for j in range(len(batch))] for i, batch in enumerate(batches)
        ]


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
class TestPrecision:
    @pytest.mark.parametrize(("write", "model_class"), FORMATS)
    def test_every_format(
        self, tmp_path: Path, precision: str, write: Callable[..., str], model_class: str | None
    ) -> None:
        path = write(tmp_path / "m", module=Layers())
        compute = Compute(precision=precision)
        model = load(path, SPEC, model_class=model_class, max_batch_size=4, compute=compute)
        assert str(model.outputs) == '{"best": int, "scores": float[2]}'
        (answer,) = model.predict([row(1.001, 2, 3)])
        assert answer["scores"].dtype == np.float32
        # 1.001 is 1 in bf16 and 1.0009766 in fp16.
        assert answer["scores"].tolist() == [3.0 if precision == "bf16" else 3.001953125, 21]

    @pytest.mark.parametrize(("write", "model_class"), [(export, None), (trace, None), (state, FP32_ONLY)])
    def test_a_model_that_cannot(
        self, tmp_path: Path, precision: str, write: Callable[..., str], model_class: str | None
    ) -> None:
        path = write(tmp_path / "m", module=Fp32Only())
        load(path, SPEC, model_class=model_class)
        with pytest.raises(
            ModelError,
            match=rf"^--model_path: .*m computes in fp32 only \(--precision={precision}\): export it in "
            rf"{precision}, or give a state_dict and its --model_class, or use --precision=fp32: ",
        ):
            load(path, SPEC, model_class=model_class, compute=Compute(precision=precision))

    def test_one_that_fails_in_any(self, tmp_path: Path, precision: str) -> None:
        path = export(tmp_path / "m.pt2")
        with pytest.raises(ModelError, match="--input_shape") as caught:
            load(path, InputSpec.parse("4"), compute=Compute(precision=precision))
        assert "--precision" not in str(caught.value)

    def test_exported_in_it(self, tmp_path: Path, precision: str) -> None:
        dtype = Compute(precision=precision).dtype
        program = torch.export.export(
            Linear().to(dtype),
            (torch.zeros(2, 3, dtype=dtype),),
            dynamic_shapes={"features": {0: torch.export.Dim("batch")}},
        )
        torch.export.save(program, tmp_path / "m.pt2")
        model = load(str(tmp_path / "m.pt2"), SPEC, max_batch_size=4, compute=Compute(precision=precision))
        assert [float(p) for p in model.predict(rows_of(4))] == [2, 3, 4, 5]

    def test_whole_numbers_are_not_cast(self, tmp_path: Path, precision: str) -> None:
        torch.save({}, tmp_path / "m.pt")
        spec = InputSpec.parse("ids:int64:2,scale:float32:1")
        model = load(
            str(tmp_path / "m.pt"),
            spec,
            model_class="tests.pipeline.models:Named",
            compute=Compute(precision=precision),
        )
        # 70,001 is beyond fp16, and not in bf16.
        (answer,) = model.predict([{"ids": np.array([70_000, 1]), "scale": np.array([0], np.float32)}])
        assert answer["total"] == 70_001


def test_fp32_leaves_float64_alone(tmp_path: Path) -> None:
    torch.save({"weight": torch.ones(3)}, tmp_path / "m.pt")
    torch.jit.trace(Linear().double(), torch.zeros(2, 3).double()).save(tmp_path / "m.pt")
    model = load(str(tmp_path / "m.pt"), InputSpec.parse("features:float64:3"))
    (answer,) = model.predict([{"features": np.array([1e-12, 1, 0])}])
    assert answer == 1 + 1e-12


class TestCompile:
    @pytest.fixture
    def counting(self, monkeypatch: pytest.MonkeyPatch) -> Counting:
        counting = Counting()
        monkeypatch.setattr(load_module, "Compiled", partial(Compiled, compile_graph=counting))
        return counting

    @pytest.mark.parametrize(("write", "model_class"), [(export, None), (state, LAYERS)])
    def test_nothing_is_compiled_after_load(
        self, tmp_path: Path, counting: Counting, write: Callable[..., str], model_class: str | None
    ) -> None:
        path = write(tmp_path / "m", module=Layers())
        compute = Compute(compile=True)

        def loaded() -> Model:
            return load(path, SPEC, model_class=model_class, max_batch_size=6, compute=compute)

        # Loaded by one thread, called by others, as models are swapped.
        with ThreadPoolExecutor(1) as loader:
            model = loader.submit(loaded).result()
        assert counting.count == len(padded_sizes(6)) == 4
        plain = load(path, SPEC, model_class=model_class, max_batch_size=6)
        for size in range(1, 7):
            ours = [answer["scores"].tolist() for answer in model.predict(rows_of(size))]
            assert ours == [answer["scores"].tolist() for answer in plain.predict(rows_of(size))]
        with ThreadPoolExecutor(2) as threads:
            assert [len(p) for p in threads.map(model.predict, map(rows_of, range(1, 7)))] == [*range(1, 7)]
        assert counting.count == 4
        assert model.outputs == plain.outputs

    def test_in_another_precision(self, tmp_path: Path, counting: Counting) -> None:
        path = export(tmp_path / "m.pt2")
        model = load(path, SPEC, max_batch_size=3, compute=Compute(precision="bf16", compile=True))
        assert [float(p) for p in model.predict(rows_of(3))] == [2, 3, 4]
        assert counting.count == 3

    def test_a_model_that_is_no_graph(self, tmp_path: Path, counting: Counting) -> None:
        torch.save(Branching().state_dict(), tmp_path / "m.pt")
        with pytest.raises(
            ModelError,
            match=r"m\.pt cannot be compiled \(--compile=true\).*one graph.*=false: Could not guard on",
        ):
            load(
                str(tmp_path / "m.pt"),
                SPEC,
                model_class="tests.pipeline.models:Branching",
                compute=Compute(compile=True),
            )

    def test_torchscript(self, tmp_path: Path, counting: Counting) -> None:
        with pytest.raises(ModelError, match=r"is TorchScript, which cannot be compiled \(--compile=true\)"):
            load(trace(tmp_path / "m.pt"), SPEC, compute=Compute(compile=True))

    def test_no_compiler(self, tmp_path: Path) -> None:
        # Compiled by no other test: torch keeps what it has compiled on the disk.
        path = export(tmp_path / "m.pt2", module=Squares())
        with (
            torch._inductor.config.patch({"cpp.cxx": ("/no/such/compiler",)}),
            pytest.raises(ModelError, match=r"\(--compile=true\).*such as g\+\+.*No working C\+\+ compiler"),
        ):
            load(path, SPEC, compute=Compute(compile=True))

    def test_the_old_model_is_freed(self, tmp_path: Path, counting: Counting) -> None:
        model: Any = load(export(tmp_path / "m.pt2"), SPEC, max_batch_size=2, compute=Compute(compile=True))
        gone = weakref.ref(model)
        weights = weakref.ref(next(model._forward._module.parameters()))
        del model
        gc.collect()
        assert gone() is None
        assert weights() is None

    @pytest.mark.slow
    @needs_compiler
    def test_for_real(self, tmp_path: Path) -> None:
        path = export(tmp_path / "m.pt2", module=Layers())
        model = load(path, SPEC, max_batch_size=3, compute=Compute(compile=True))
        for size in (1, 2, 3):
            answers = model.predict(rows_of(size))
            assert [answer["scores"].tolist() for answer in answers] == [[1 + 2 * i, 9] for i in range(size)]
