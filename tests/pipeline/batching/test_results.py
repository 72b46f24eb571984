"""From forward passes to results and dead letters, in order."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.batching.batch_runner import BatchSlice, ForwardPass
from pipeline.batching.results import outcomes
from pipeline.model.outputs import OutputRows
from pipeline.request.errors import TransientError
from pipeline.request.messages import DeadLetter, Request, Result, Timeline


def requests(count: int) -> list[Request]:
    return [
        Request(f"r{n}", np.zeros(1, np.float32), b"%d" % n, {"a": "b"}, b"{}", Timeline())
        for n in range(count)
    ]


def batch_slice(offset: int, *passes: ForwardPass) -> BatchSlice:
    return BatchSlice(offset, list(passes), 1.0)


def passed(first: int, *numbers: float) -> ForwardPass:
    return ForwardPass(
        first, first + len(numbers), "m@1", 2.0, 3.0, OutputRows([None], [np.array(numbers)]), None
    )


def failed(row: int, why: str) -> ForwardPass:
    return ForwardPass(row, row + 1, "m@1", 2.0, 3.0, None, ValueError(why))


def described(found: list[Result | DeadLetter]) -> list[tuple[str | None, object]]:
    return [
        (each.request.request_id, float(each.prediction))
        if isinstance(each, Result)
        else (each.request_id, each.error_message)
        for each in found
    ]


def test_results_in_order_with_times_model_and_batch_size() -> None:
    batch = requests(3)
    found = outcomes(batch, batch_slice(0, passed(0, 3, 4, 5)), allow_nan=False)
    assert described(found) == [("r0", 3), ("r1", 4), ("r2", 5)]
    assert {(each.model_id, each.batch_size) for each in found if isinstance(each, Result)} == {("m@1", 3)}
    assert {(t.batched, t.inference_start, t.inference_end) for t in (r.timeline for r in batch)} == {
        (1, 2, 3)
    }


def test_only_its_own_rows_of_passes_that_hold_others_too() -> None:
    passes = [passed(0, 0, 10), passed(2, 20, 30, 40), failed(5, "bad"), passed(6, 60, 70)]
    assert described(outcomes(requests(1), batch_slice(0, *passes), allow_nan=False)) == [("r0", 0)]
    assert described(outcomes(requests(3), batch_slice(1, *passes), allow_nan=False)) == [
        ("r0", 10),
        ("r1", 20),
        ("r2", 30),
    ]
    found = outcomes(requests(3), batch_slice(4, *passes), allow_nan=False)
    assert described(found) == [("r0", 40), ("r1", "the model failed (m@1): bad"), ("r2", 60)]
    assert [each.batch_size for each in found if isinstance(each, Result)] == [3, 2]
    assert described(outcomes(requests(1), batch_slice(7, *passes), allow_nan=False)) == [("r0", 70)]


def test_a_failure_is_a_dead_letter() -> None:
    (letter,) = outcomes(requests(1), batch_slice(0, failed(0, "the number of the beast")), allow_nan=False)
    assert isinstance(letter, DeadLetter)
    assert (letter.data, letter.attributes, letter.stage) == (b"0", {"a": "b"}, "inference")
    assert (letter.error_type, letter.failed_at) == ("ValueError", 3.0)
    assert letter.error_message == "the model failed (m@1): the number of the beast"


def test_nan_is_a_dead_letter_unless_it_is_allowed() -> None:
    batch = batch_slice(0, passed(0, 1, np.nan, -np.inf, 0))
    found = outcomes(requests(4), batch, allow_nan=False)
    assert [type(each) for each in found] == [Result, DeadLetter, DeadLetter, Result]
    letter = found[1]
    assert isinstance(letter, DeadLetter)
    assert letter.stage == "inference"
    assert letter.error_message == "the model's output holds NaN or infinity (see --allow_nan)"
    assert [type(each) for each in outcomes(requests(4), batch, allow_nan=True)] == [Result] * 4


def test_a_row_that_is_not_to_blame_fails_its_own_bundle_only() -> None:
    lacking = ForwardPass(2, 3, "m@1", 2.0, 3.0, None, TransientError("no memory"))
    passes = passed(0, 3, 4), lacking, passed(3, 5)
    assert described(outcomes(requests(2), batch_slice(0, *passes), allow_nan=False)) == [
        ("r0", 3),
        ("r1", 4),
    ]
    with pytest.raises(TransientError, match="no memory"):
        outcomes(requests(2), batch_slice(2, *passes), allow_nan=False)
