"""ROC AUC of the anomaly scores that came back, checked against what was sent."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from loadtest.records import Records, read_records

EXAMPLE = Path(__file__).parents[1] / "examples" / "breast_cancer" / "records.jsonl"

TOLERANCE = 1e-6  # how far scores of one record may lie apart


def roc_auc(labels: ArrayLike, scores: ArrayLike) -> float:
    """Return the probability that a positive scores above a negative, ties counted as half.

    It is computed by ranks, as the Mann-Whitney U statistic (Hanley and McNeil, 1982): with R the sum of the
    positives' ranks among all n scores (equal scores share the mean of their ranks), p positives and q
    negatives, AUC = (R - p(p+1)/2) / (p q).

    Args:
        labels: [n], 1 (or true) for positive, 0 for negative.
        scores: [n], finite.

    Raises:
        ValueError: The shapes differ, or one of the two classes is absent.
    """
    positive: NDArray[np.bool_] = np.asarray(labels).astype(bool)
    values: NDArray[np.float64] = np.asarray(scores, dtype=np.float64)
    if positive.shape != values.shape or values.ndim != 1:
        raise ValueError(
            f"labels {positive.shape} and scores {values.shape} must be two vectors of one length"
        )
    p = int(positive.sum())
    q = len(values) - p
    if not p or not q:
        raise ValueError("both classes are needed: labels are all 0 or all 1")
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last_rank = np.cumsum(counts)
    ranks = (last_rank - (counts - 1) / 2)[inverse]
    return float((ranks[positive].sum() - p * (p + 1) / 2) / (p * q))


def is_example(records: Records) -> bool:
    """Return whether these are the bundled example's records, whose labels its anomaly scores answer to.

    What another model returns need not be a score, nor its labels 0 and 1.
    """
    return records.bodies == read_records(EXAMPLE).bodies


class Scores:
    """One score for each labelled input record, from the `prediction` of the results.

    A result must carry back, under `passthrough`, the `record_id` and `label` of the record that was sent as
    its sequence. So a row mixed up on the way is found even where the scores would look plausible.
    """

    def __init__(self, records: Records) -> None:
        self._records = records
        self._scores = [math.nan] * len(records)
        self._mismatch: str | None = None

    def add(self, sequence: int, result: dict[str, object]) -> None:
        """Take in one result (its JSON object); the first contradiction is kept for `auc`."""
        index = sequence % len(self._records)
        if self._mismatch or self._records.labels[index] is None:
            return
        record_id = self._records.ids[index]
        carried = result.get("passthrough")
        if not isinstance(carried, dict) or carried.get("record_id") != record_id:
            other = carried.get("record_id") if isinstance(carried, dict) else None
            self._mismatch = f"the result of record {record_id} came back as record {other}"
            return
        if carried.get("label") != self._records.labels[index]:
            self._mismatch = (
                f"record {record_id} went out with label {self._records.labels[index]} "
                f"and came back with {carried.get('label')}"
            )
            return
        score = _number(result.get("prediction"))
        if score is None:
            self._mismatch = f"the prediction for record {record_id} is not a number"
            return
        known = self._scores[index]
        if math.isnan(known):
            self._scores[index] = score
        elif abs(known - score) > TOLERANCE:
            self._mismatch = f"record {record_id} scored {known:.9g} and {score:.9g}"

    def auc(self, sent: int) -> tuple[float | None, str | None]:
        """Return the area and None, or None and the reason why there is none.

        Args:
            sent: Messages that were sent; those of a run that is too short are not all of the records.
        """
        labelled = [i for i, label in enumerate(self._records.labels) if label is not None]
        if not labelled:
            return None, "the input has no labels"
        labels = [self._records.labels[i] for i in labelled]
        ids = [self._records.ids[i] for i in labelled]
        note = self._mismatch or _input_note(labels, ids)
        if note:
            return None, note
        if sent < len(self._records):
            return None, f"{sent:,} of the {len(self._records):,} records were sent, and it takes them all"
        silent = [i for i in labelled if math.isnan(self._scores[i])]
        if silent:
            more = f", nor were {len(silent) - 1:,} others" if len(silent) > 1 else ""
            return None, f"record {self._records.ids[silent[0]]} was never answered{more}"
        return roc_auc([bool(label) for label in labels], [self._scores[i] for i in labelled]), None


def _number(value: object) -> float | None:
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def _input_note(labels: Sequence[object], ids: Sequence[object]) -> str | None:
    if any(label not in (0, 1) for label in labels):
        return f"a label is {next(label for label in labels if label not in (0, 1))!r}; labels must be 0 or 1"
    if any(not isinstance(identity, int | str) for identity in ids):
        return "a labelled input record has no record_id (text or integer)"
    if len(set(ids)) < len(ids):
        return "two input records have the same record_id"
    if len({bool(label) for label in labels}) < 2:
        return "the labels of the input are all 0 or all 1"
    return None
