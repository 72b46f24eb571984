from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.model.golden import SUFFIX, check, missing
from pipeline.request.errors import ModelError
from pipeline.request.input_spec import Inputs, InputSpec

SPEC = InputSpec.parse("3")


class Stub:
    """A model that answers each row by a function, and records how many rows came together."""

    def __init__(self, answer: Callable[[Any], Any]) -> None:
        self._answer = answer
        self.batches: list[int] = []

    def predict(self, rows: list[Inputs]) -> list[Any]:
        self.batches.append(len(rows))
        return [self._answer(row) for row in rows]


def total(row: np.ndarray) -> Any:
    return row.sum()


@pytest.fixture
def golden(tmp_path: Path) -> Path:
    return tmp_path / f"m.pt2{SUFFIX}"


def write(golden: Path, *lines: dict[str, Any]) -> None:
    golden.write_text("".join(json.dumps(line) + "\n" for line in lines))


def run(answer: Callable[[Any], Any], golden: Path, precision: str = "fp32", spec: InputSpec = SPEC) -> None:
    check(Stub(answer), golden, spec, precision)  # type: ignore[arg-type]


class TestAnswers:
    def test_right_and_wrong(self, golden: Path) -> None:
        write(golden, {"features": [1, 2, 3], "prediction": 6}, {"features": [1, 1, 1], "prediction": 3.0})
        run(total, golden)
        with pytest.raises(
            ModelError,
            match=rf"^--model_pointer: .*/m.pt2{SUFFIX}, line 1: prediction: the model answers -6.0, "
            "expected is 6$",
        ):
            run(lambda row: -row.sum(), golden)
        write(golden, {"features": [1, 2, 3], "prediction": 6}, {"features": [1, 1, 1], "prediction": 4})
        with pytest.raises(ModelError, match="line 2: prediction: the model answers 3.0, expected is 4$"):
            run(total, golden)

    def test_lists(self, golden: Path) -> None:
        write(golden, {"features": [1, 2, 3], "prediction": [[1, 2, 3], [2, 4, 6]]})
        run(lambda row: np.stack([row, 2 * row]), golden)
        with pytest.raises(ModelError, match=r"prediction\[1\]\[0\]: the model answers 3.0, expected is 2"):
            run(lambda row: np.stack([row, 3 * row]), golden)

    def test_named_inputs_and_outputs(self, golden: Path) -> None:
        spec = InputSpec.parse("ids:int64:2,scale:float32:1")
        line = {"inputs": {"ids": [4, 5], "scale": [0.5]}, "prediction": {"total": 9, "scaled": [2, 2.5]}}
        write(golden, line)

        def answer(row: dict[str, np.ndarray]) -> dict[str, Any]:
            return {"total": row["ids"].sum(), "scaled": row["ids"] * row["scale"]}

        run(answer, golden, spec=spec)
        with pytest.raises(ModelError, match=r"prediction.scaled\[0\]: the model answers 3.0, expected is 2"):
            run(lambda row: answer(row) | {"scaled": answer(row)["scaled"] + 1}, golden, spec=spec)
        with pytest.raises(ModelError, match="prediction: expected an object of 'total', as the model answ"):
            run(lambda row: {"total": row["ids"].sum()}, golden, spec=spec)

    @pytest.mark.parametrize(
        ("precision", "near", "far"), [("fp32", 5e-4, 5e-3), ("fp16", 5e-3, 5e-2), ("bf16", 4e-2, 0.3)]
    )
    def test_floats_may_differ_by_their_precision(
        self, golden: Path, precision: str, near: float, far: float
    ) -> None:
        write(golden, {"features": [1, 0, 0], "prediction": [1, -1000]})
        for sign in (1, -1):
            run(lambda row, d=sign * near: np.array([1, -1000]) * (1 + d), golden, precision)  # type: ignore[misc]
            with pytest.raises(ModelError, match=r"prediction\[1\]"):
                run(lambda row, d=sign * far: np.array([1, -1000 * (1 + d)]), golden, precision)  # type: ignore[misc]

    def test_whole_numbers_and_booleans_may_not(self, golden: Path) -> None:
        write(golden, {"features": [1, 0, 0], "prediction": {"label": 9007199254740993, "sure": True}})
        run(lambda row: {"label": np.int64(9007199254740993), "sure": np.bool_(True)}, golden)
        with pytest.raises(ModelError, match="answers 9007199254740992, expected is 9007199254740993"):
            run(lambda row: {"label": np.int64(9007199254740992), "sure": np.bool_(True)}, golden)
        with pytest.raises(ModelError, match="prediction.sure: the model answers False, expected is True"):
            run(lambda row: {"label": np.int64(9007199254740993), "sure": np.bool_(False)}, golden)

    def test_null_is_nan_or_infinity(self, golden: Path) -> None:
        write(golden, {"features": [1, 0, 0], "prediction": [1, None]})
        for strange in (np.nan, np.inf, -np.inf):
            run(lambda row, x=strange: np.array([1, x]), golden)  # type: ignore[misc]
        with pytest.raises(ModelError, match="answers 2.0, expected is nan"):
            run(lambda row: np.array([1.0, 2.0]), golden)

    @pytest.mark.parametrize("strange", [np.nan, -np.inf])
    def test_nothing_expected_but_a_number(self, golden: Path, strange: float) -> None:
        write(golden, {"features": [1, 2, 3]})
        run(total, golden)
        run(lambda row: {"label": np.int64(3), "scores": row}, golden)
        for answer in (np.array([1, strange]), {"a": np.float32(1), "b": np.float32(strange)}):
            with pytest.raises(ModelError, match="line 1: the model answers NaN or infinity"):
                run(lambda row, a=answer: a, golden)  # type: ignore[misc]

    @pytest.mark.parametrize(
        "prediction", ["6", None, {"total": 6}, [6, 7], [[6]], [[6], [7, 8]], [None, "x"], [], True]
    )
    def test_another_shape_or_type(self, golden: Path, prediction: Any) -> None:
        write(golden, {"features": [1, 2, 3], "prediction": prediction})
        with pytest.raises(ModelError, match=r"line 1: prediction: "):
            run(lambda row: np.array([row.sum()]), golden)

    def test_the_model_fails(self, golden: Path) -> None:
        write(golden, {"features": [1, 2, 3]}, {"features": [1, 2, 3]})
        with pytest.raises(ModelError, match="lines 1 to 2: the model failed: integer division") as caught:
            run(lambda row: 1 // 0, golden)
        assert isinstance(caught.value.__cause__, ZeroDivisionError)


@pytest.mark.parametrize(("most", "batches"), [(1000, [64, 64, 2]), (50, [50, 50, 30])])
def test_batches(golden: Path, most: int, batches: list[int]) -> None:
    write(golden, *({"features": [i, 0, 0], "prediction": i} for i in range(130)))
    model = Stub(total)
    check(model, golden, SPEC, "fp32", max_batch_size=most)  # type: ignore[arg-type]
    assert model.batches == batches


class TestFile:
    @pytest.mark.parametrize("content", [None, b"", b"\n  \n"])
    def test_missing_or_empty(self, golden: Path, content: bytes | None) -> None:
        if content is not None:
            golden.write_bytes(content)
        with pytest.raises(ModelError) as caught:
            run(total, golden)
        assert str(caught.value) == str(missing(f"--model_pointer: {golden.parent}/m.pt2", SPEC))
        assert f"m.pt2{SUFFIX} is missing or empty" in str(caught.value)
        assert '{"features": [3 numbers], "prediction": …}' in str(caught.value)

    @pytest.mark.parametrize(
        ("line", "reason"),
        [
            (b'{"features": [1, 2', "line 3: "),
            (b"\xff", "line 3: "),
            (b"[1, 2, 3]", "line 3: not a JSON object"),
            (b'{"prediction": 6}', 'line 3: no "features"'),
            (b'{"features": [1, 2], "prediction": 6}', "line 3: features: expected 3 numbers, got 2"),
        ],
    )
    def test_a_line_that_does_not_fit(self, golden: Path, line: bytes, reason: str) -> None:
        golden.write_bytes(b'{"features": [1, 2, 3], "prediction": 6}\n\n' + line + b"\n")
        with pytest.raises(ModelError, match=reason):
            run(total, golden)

    def test_a_folder(self, golden: Path) -> None:
        golden.mkdir()
        with pytest.raises(ModelError, match=f"m.pt2{SUFFIX} cannot be read: .*directory"):
            run(total, golden)

    def test_a_fifo(self, golden: Path) -> None:
        os.mkfifo(golden)
        with pytest.raises(ModelError, match=f"m.pt2{SUFFIX} cannot be read: it is a FIFO"):
            run(total, golden)

    def test_too_large(self, golden: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        write(golden, {"features": [1, 2, 3], "prediction": 6})
        monkeypatch.setattr("pipeline.model.golden.MOST_BYTES", 10)
        with pytest.raises(ModelError, match=f"m.pt2{SUFFIX} cannot be read: it has more than 10 bytes"):
            run(total, golden)

    @pytest.mark.parametrize("depth", [100, 600, 1000, 100_000])
    @pytest.mark.parametrize("field", ["features", "prediction"])
    @pytest.mark.parametrize(("start", "end"), [(b"[", b"]"), (b'{"a":', b"}")])
    def test_nested(self, golden: Path, depth: int, field: str, start: bytes, end: bytes) -> None:
        line = {"features": b"[1, 2, 3]", "prediction": b"6", field: start * depth + b"0" + end * depth}
        golden.write_bytes(b"{" + b",".join(b'"%s":%s' % (k.encode(), v) for k, v in line.items()) + b"}")
        with pytest.raises(ModelError, match="line 1"):
            run(total, golden)

    def test_messages_call_it_by_where_it_came_from(self, golden: Path) -> None:
        write(golden, {"features": [1, 2, 3], "prediction": 0})
        with pytest.raises(ModelError, match=rf"^--model_pointer: gs://b/m.pt2{SUFFIX}, line 1: "):
            check(Stub(total), golden, SPEC, "fp32", label="--model_pointer: gs://b/m.pt2")  # type: ignore[arg-type]
