from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer
from sklearn.metrics import roc_auc_score

from examples.breast_cancer import train
from pipeline.model.load import load
from pipeline.request.input_spec import InputSpec

COMMITTED = Path(train.__file__).parent
OFFLINE_AUC = 0.954941


def records(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "records.jsonl").read_text().splitlines()]


def scores(folder: Path, batch: int) -> list[float]:
    model = load(str(folder / "model.pt2"), InputSpec.parse("30"), max_batch_size=batch)
    rows = [np.array(record["features"], np.float32) for record in records(folder)]
    parts = [model.predict(rows[start : start + batch]) for start in range(0, len(rows), batch)]  # type: ignore[arg-type]
    return [float(score) for part in parts for score in part]


def test_the_records_are_the_held_out_real_ones() -> None:
    data = load_breast_cancer()
    trained_on, *_ = train.split()
    committed = records(COMMITTED)
    assert len(trained_on) + len(committed) == len(data.target) == 569
    for record in committed:
        assert np.allclose(record["features"], data.data[record["record_id"]], rtol=1e-6)
        assert record["label"] == 1 - data.target[record["record_id"]]
    held_out = np.array([record["features"] for record in committed], np.float32)
    assert not (held_out[:, None] == trained_on[None]).all(axis=2).any()


@pytest.mark.parametrize("batch", [1, 7, 128])
def test_the_committed_model_reaches_the_offline_value_in_any_batch(batch: int) -> None:
    labels = [record["label"] for record in records(COMMITTED)]
    found = scores(COMMITTED, batch)
    assert all(0 <= score < 1 for score in found)
    assert np.allclose(found, scores(COMMITTED, 355), rtol=0, atol=1e-6)
    assert roc_auc_score(labels, found) == pytest.approx(OFFLINE_AUC, abs=1e-6)


def test_training_again_gives_the_committed_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["train", "--out", str(tmp_path)])
    monkeypatch.delitem(sys.modules, "examples.breast_cancer.train")
    runpy.run_module("examples.breast_cancer.train", run_name="__main__")
    printed = float(capsys.readouterr().out.splitlines()[-1].removeprefix("ROC AUC "))
    assert printed >= 0.88
    assert records(tmp_path) == records(COMMITTED)
    # Training is not bit for bit the same on every processor.
    assert printed == pytest.approx(OFFLINE_AUC, abs=0.01)
    assert (COMMITTED / "model.pt2").stat().st_size < 100_000
