from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from loadtest.auc import EXAMPLE, Scores, is_example, roc_auc
from loadtest.records import Records, read_records

# Few distinct values, so that ties are the rule.
pairs = st.lists(st.tuples(st.booleans(), st.integers(-3, 3).map(float) | st.floats(-1e9, 1e9)), min_size=2)


@given(pairs.filter(lambda drawn: len({label for label, _ in drawn}) == 2))
def test_equals_scikit_learn(drawn: list[tuple[bool, float]]) -> None:
    labels, scores = zip(*drawn, strict=True)
    assert roc_auc(labels, scores) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)


def test_all_tied_is_a_half_and_order_is_what_counts() -> None:
    assert roc_auc([0, 1, 0, 1], [5, 5, 5, 5]) == 0.5
    assert roc_auc([0, 0, 1, 1], [1, 2, 3, 4]) == 1
    assert roc_auc([0, 0, 1, 1], [4, 3, 2, 1]) == 0


@pytest.mark.parametrize("labels", [[0, 0], [1, 1]])
def test_one_class_is_refused(labels: list[int]) -> None:
    with pytest.raises(ValueError, match="both classes"):
        roc_auc(labels, [1, 2])


def test_lengths_must_agree() -> None:
    with pytest.raises(ValueError, match="one length"):
        roc_auc([0, 1, 1], [1, 2])


def records(labels: list[object], ids: list[object] | None = None) -> Records:
    return Records([b"{}"] * len(labels), ids or list(range(len(labels))), labels)


def answer(record_id: object, label: object, prediction: object) -> dict[str, object]:
    return {"prediction": prediction, "passthrough": {"record_id": record_id, "label": label}}


def test_one_score_for_each_record_however_often_it_was_streamed() -> None:
    scores = Scores(records([0, 1, 0, 1]))
    for cycle in range(3):
        for i, (label, score) in enumerate([(0, 0.1), (1, [0.9]), (0, 0.5), (1, 0.3)]):
            scores.add(cycle * 4 + i, answer(i, label, score))
    scores.add(12, answer(0, 0, 0.1 + 9e-7))
    assert scores.auc(4) == (roc_auc_score([0, 1, 0, 1], [0.1, 0.9, 0.5, 0.3]), None)


@pytest.mark.parametrize(
    ("answers", "note"),
    [
        ([(0, answer(0, 0, 0.1))], "record 1 was never answered"),
        ([], "record 0 was never answered, nor were 1 others"),
        ([(0, answer(0, 0, 0.31)), (2, answer(0, 0, 0.32))], "record 0 scored 0.31 and 0.32"),
        ([(0, answer(1, 1, 0.5))], "the result of record 0 came back as record 1"),
        ([(0, {"prediction": 1.0})], "the result of record 0 came back as record None"),
        ([(1, answer(1, 0, 0.5))], "record 1 went out with label 1 and came back with 0"),
        ([(1, answer(1, 1, [1, 2]))], "the prediction for record 1 is not a number"),
        ([(1, answer(1, 1, True))], "the prediction for record 1 is not a number"),
        ([(1, answer(1, 1, None))], "the prediction for record 1 is not a number"),
    ],
)
def test_a_missing_area_says_why(answers: list[tuple[int, dict[str, object]]], note: str) -> None:
    scores = Scores(records([0, 1]))
    for sequence, result in answers:
        scores.add(sequence, result)
    assert scores.auc(4) == (None, note)


@pytest.mark.parametrize(
    ("given_records", "note"),
    [
        (records([None, None]), "the input has no labels"),
        (records([0, 0]), "the labels of the input are all 0 or all 1"),
        (records([0, "benign"]), "a label is 'benign'; labels must be 0 or 1"),
        (records([0, 1], [7, 7]), "two input records have the same record_id"),
        (records([0, 1], [7, None]), "a labelled input record has no record_id (text or integer)"),
    ],
)
def test_an_unfit_input_says_why(given_records: Records, note: str) -> None:
    assert Scores(given_records).auc(len(given_records)) == (None, note)


def test_records_that_were_not_sent_are_not_called_unanswered() -> None:
    scores = Scores(records([0, 1, 0, 1]))
    scores.add(0, answer(0, 0, 0.1))
    assert scores.auc(3) == (None, "3 of the 4 records were sent, and it takes them all")


def test_the_example_is_known_by_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "copy.jsonl").write_bytes(EXAMPLE.read_bytes())
    assert is_example(read_records(tmp_path / "copy.jsonl"))
    (tmp_path / "mine.jsonl").write_bytes(b'{"record_id": 0, "features": [1], "label": 1}')
    assert not is_example(read_records(tmp_path / "mine.jsonl"))


def test_records_without_a_label_are_left_out() -> None:
    scores = Scores(records([0, None, 1]))
    scores.add(0, answer(0, 0, 0.1))
    scores.add(1, {"prediction": "anything"})
    scores.add(2, answer(2, 1, np.pi))
    assert scores.auc(4) == (1.0, None)
