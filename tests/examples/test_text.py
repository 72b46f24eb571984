from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from examples.text.hooks import decode, encode
from examples.text.train import HELD_OUT, TRAINED_ON, reviews
from examples.text.words import UNKNOWN, VOCABULARY
from pipeline.model.load import load
from pipeline.request.input_spec import InputSpec

SPEC = InputSpec.parse("ids:int64:16,mask:int64:16")


def test_the_written_model_is_right_about_reviews_it_has_not_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["train", "--out", str(tmp_path)])
    monkeypatch.delitem(sys.modules, "examples.text.train")
    runpy.run_module("examples.text.train", run_name="__main__")
    assert f"of {HELD_OUT} others" in capsys.readouterr().out
    assert (tmp_path / "model.pt2").stat().st_size < 100_000

    requests = [json.loads(line) for line in (tmp_path / "requests.jsonl").read_text().splitlines()]
    expected = [request["expected"] for request in requests]
    rows = [SPEC.from_arrays(decode(request, {})) for request in requests]
    model = load(str(tmp_path / "model.pt2"), SPEC, max_batch_size=HELD_OUT)
    together = model.predict(rows)
    assert len(rows) == HELD_OUT
    assert sum(encode(score)["label"] == label for score, label in zip(together, expected, strict=True)) > 90
    alone = [model.predict([row])[0] for row in rows]
    assert np.allclose(alone, together, atol=1e-5)


def test_reviews_are_different_and_of_both_kinds() -> None:
    made = reviews(TRAINED_ON + HELD_OUT)
    assert len({text for text, _ in made}) == TRAINED_ON + HELD_OUT
    assert 0.4 < np.mean([label for _, label in made]) < 0.6


class TestDecode:
    def test_text(self) -> None:
        body = {"text": "The FOOD was zyzzy!", "customer": 4}
        inputs = decode(body, {})
        words = ["the", "food", "was"]
        assert inputs["ids"] == [*map(VOCABULARY.index, words), UNKNOWN, *[0] * 12]
        assert inputs["mask"] == [1] * 4 + [0] * 12
        assert body == {"customer": 4}

    def test_a_long_text_is_cut(self) -> None:
        assert decode({"text": "good " * 100}, {}) == {
            "ids": [VOCABULARY.index("good")] * 16,
            "mask": [1] * 16,
        }

    def test_ids(self) -> None:
        last = len(VOCABULARY) - 1
        assert decode({"ids": [0, last]}, {}) == {"ids": [0, last, *[0] * 14], "mask": [1, 1, *[0] * 14]}

    @pytest.mark.parametrize(
        ("body", "reason"),
        [
            (b"\xff\xd8", "expected"),
            ({}, "expected"),
            ({"text": ""}, "no words"),
            ({"text": None}, "expected a string"),
            ({"ids": []}, "no words"),
            ({"ids": "5"}, "a list of 16"),
            ({"ids": [1] * 17}, "a list of 16"),
            ({"ids": [1, 2, 30523]}, "token 30523 at position 2"),
            ({"ids": [1, -1]}, "token -1 at position 1"),
            ({"ids": [len(VOCABULARY)]}, f"0 to {len(VOCABULARY) - 1}"),
            ({"ids": [1.0]}, "token 1.0"),
            ({"ids": [True]}, "token True"),
        ],
    )
    def test_refuses(self, body: Any, reason: str) -> None:
        with pytest.raises(ValueError, match=reason):
            decode(body, {})


@pytest.mark.parametrize(
    ("prediction", "label", "score"),
    [(0.98, "positive", 0.98), (0.5, "positive", 0.5), (0.1, "negative", 0.9)],
)
def test_encode(prediction: float, label: str, score: float) -> None:
    assert encode(np.float32(prediction)) == {"label": label, "score": score}
