"""Batches that go wrong: who is answered, who is refused, and what the model was asked."""

from __future__ import annotations

import logging
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch

from pipeline.inference.answer import Answerer, DeviceLostError
from pipeline.inference.swap import CurrentModel
from pipeline.messages import DeadLetter, Request, Result, Timeline


def requests(*firsts: float) -> list[Request]:
    return [
        Request(f"r{first:g}", np.array([first, 1, 1], np.float32), b"%g" % first, {"a": "b"}, {}, Timeline())
        for first in firsts
    ]


class FakeModel:
    """Answers each row by its sum; notes the size of each batch; fails as it is told."""

    def __init__(self, fail: Callable[[np.ndarray], Exception | None] = lambda _: None) -> None:
        self.model_id = "m@1"
        self.asked: list[int] = []
        self._fail = fail

    def predict(self, rows: list[np.ndarray]) -> list[Any]:
        self.asked.append(len(rows))
        batch = np.stack(rows)
        if (error := self._fail(batch)) is not None:
            raise error
        return list(batch.sum(axis=1))


class Raw:
    """Answers with what it is given."""

    model_id = "raw@1"

    def __init__(self, *predictions: Any) -> None:
        self._predictions = list(predictions)

    def predict(self, rows: list[np.ndarray]) -> list[Any]:
        return self._predictions


def current(model: object) -> CurrentModel:
    return cast(CurrentModel, SimpleNamespace(model=model))


def beast(batch: np.ndarray) -> Exception | None:
    return ValueError("the number of the beast") if (batch[:, 0] == 666).any() else None


def memory_for(rows: int, error: Callable[[str], Exception]) -> Callable[[np.ndarray], Exception | None]:
    return lambda batch: error("out of memory") if len(batch) > rows else None


def kinds(answers: list[Result | DeadLetter]) -> list[type]:
    return [type(answer) for answer in answers]


def numbers(answers: list[Result | DeadLetter]) -> list[float]:
    return [float(answer.prediction) for answer in answers if isinstance(answer, Result)]


def refused(answer: Result | DeadLetter) -> DeadLetter:
    assert isinstance(answer, DeadLetter)
    return answer


def test_results_in_order_with_times_and_batch_size() -> None:
    ticks = iter(range(1000))
    batch = requests(1, 2, 3)
    answers = Answerer(current(FakeModel()), clock=lambda: float(next(ticks)))(batch)
    assert [(a.request.request_id, float(a.prediction), a.model_id, a.batch_size) for a in answers] == [  # type: ignore[union-attr]
        ("r1", 3.0, "m@1", 3),
        ("r2", 4.0, "m@1", 3),
        ("r3", 5.0, "m@1", 3),
    ]
    assert {(t.batched, t.inference_start, t.inference_end) for t in (r.timeline for r in batch)} == {
        (0, 1, 2)
    }


class TestPoison:
    @pytest.mark.parametrize("place", [0, 17, 49])
    def test_the_offender_stands_alone(self, place: int) -> None:
        firsts = [666 if i == place else i for i in range(50)]
        model = FakeModel(beast)
        answers = Answerer(current(model))(requests(*firsts))
        letters = [a for a in answers if isinstance(a, DeadLetter)]
        assert [(a.data, a.stage, a.error_type, a.request_id) for a in letters] == [
            (b"666", "inference", "ValueError", "r666")
        ]
        assert letters[0].error_message == "the model failed: the number of the beast"
        assert {a.request.request_id: float(a.prediction) for a in answers if isinstance(a, Result)} == {
            f"r{i}": i + 2.0 for i in range(50) if i != place
        }
        assert len(model.asked) <= 13

    def test_two_offenders(self) -> None:
        answers = Answerer(current(FakeModel(beast)))(requests(1, 666, 2, 666, 3))
        assert kinds(answers) == [Result, DeadLetter, Result, DeadLetter, Result]

    def test_the_next_batch_is_whole_again(self) -> None:
        model = FakeModel(beast)
        answerer = Answerer(current(model))
        answerer(requests(1, 666))
        answerer(requests(1, 2, 3, 4))
        assert model.asked[-1] == 4


class TestMemory:
    @pytest.mark.parametrize(
        "error",
        [
            torch.OutOfMemoryError,
            MemoryError,
            lambda text: RuntimeError(f"[enforce fail] DefaultCPUAllocator: {text}"),
        ],
    )
    def test_halved_and_remembered(
        self, error: Callable[[str], Exception], caplog: pytest.LogCaptureFixture
    ) -> None:
        model = FakeModel(memory_for(3, error))
        answerer = Answerer(current(model))
        with caplog.at_level(logging.WARNING):
            assert numbers(answerer(requests(*range(10)))) == [i + 2.0 for i in range(10)]
        assert "out of memory with 10 requests in a batch: at most 5 from now on" in caplog.text
        assert "at most 2 from now on" in caplog.text
        model.asked.clear()
        assert numbers(answerer(requests(*range(10)))) == [i + 2.0 for i in range(10)]
        assert model.asked == [2, 2, 2, 2, 2]

    def test_what_does_not_fit_alone_is_refused(self) -> None:
        big = FakeModel(lambda batch: torch.OutOfMemoryError("no room") if (batch == 9).any() else None)
        answers = Answerer(current(big))(requests(1, 9, 2))
        assert kinds(answers) == [Result, DeadLetter, Result]
        assert refused(answers[1]).error_message == "the model failed: no room"
        assert refused(answers[1]).error_type == "OutOfMemoryError"

    def test_another_model_is_given_its_chance(self) -> None:
        slot = SimpleNamespace(model=FakeModel(memory_for(1, MemoryError)))
        answerer = Answerer(cast(CurrentModel, slot))
        answerer(requests(1, 2, 3, 4))
        slot.model = FakeModel()
        slot.model.model_id = "m@2"
        answerer(requests(1, 2, 3, 4))
        assert slot.model.asked == [4]


class TestNan:
    def test_is_a_dead_letter(self) -> None:
        raw = Raw(np.float32(1), np.float32("nan"), np.float32("-inf"), np.float32(0))
        answers = Answerer(current(raw))(requests(1, 2, 3, 4))
        assert kinds(answers) == [Result, DeadLetter, DeadLetter, Result]
        assert refused(answers[1]).stage == "inference"
        assert (
            refused(answers[1]).error_message == "the model's output holds NaN or infinity (see --allow_nan)"
        )

    def test_anywhere_in_an_array(self) -> None:
        raw = Raw(np.ones((2, 2)), np.array([[1, 2], [3, np.nan]]), np.array([[np.inf, 2], [3, 4]]))
        assert kinds(Answerer(current(raw))(requests(1, 2, 3))) == [Result, DeadLetter, DeadLetter]

    def test_in_a_named_output(self) -> None:
        ones = [{"a": np.float32(1), "b": np.array([1, number]), "c": np.int64(1)} for number in (1.0, np.nan)]
        assert kinds(Answerer(current(Raw(*ones)))(requests(1, 2))) == [Result, DeadLetter]

    def test_whole_numbers_have_none(self) -> None:
        assert kinds(Answerer(current(Raw(np.int64(1), np.int64(2))))(requests(1, 2))) == [Result, Result]

    def test_allowed(self) -> None:
        answers = Answerer(current(Raw(np.float32("nan"), np.float32(1))), allow_nan=True)(requests(1, 2))
        assert kinds(answers) == [Result, Result]


def test_a_lost_device_is_nobodys_fault() -> None:
    lost = torch.AcceleratorError("CUDA error: device-side assert triggered")
    with pytest.raises(DeviceLostError, match="device-side assert"):
        Answerer(current(FakeModel(lambda _: lost)))(requests(1, 2))
