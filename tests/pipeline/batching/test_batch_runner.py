"""Batches that go wrong: what the model is asked, and what each bundle gets back."""

from __future__ import annotations

import logging
from collections.abc import Callable
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
import torch

from pipeline.batching.batch_runner import (
    GROW_AFTER,
    PAUSES_S,
    BatchRunner,
    BatchSlice,
    BundleInputs,
    DeviceLostError,
)
from pipeline.model.active_model import ActiveModel
from pipeline.model.model import Model
from pipeline.model.outputs import OutputRows
from pipeline.request.input_spec import Inputs, InputSpec


class FakeModel:
    """Answers each row by its double; notes the size of each batch; fails as it is told."""

    def __init__(self, fail: Callable[[np.ndarray], Exception | None] = lambda _: None) -> None:
        self.model_id = "m@1"
        self.asked: list[int] = []
        self._fail = fail

    def run(self, blocks: list[Inputs], rows: int) -> OutputRows:
        batch = np.concatenate([block["x"] if isinstance(block, dict) else block for block in blocks])
        assert len(batch) == rows
        self.asked.append(rows)
        if (error := self._fail(batch)) is not None:
            raise error
        return OutputRows([None], [2 * batch])


def current(model: object, waited: Callable[[], bool] = lambda: False) -> ActiveModel:
    return cast(ActiveModel, SimpleNamespace(model=model, waited_for_candidate=waited))


def passes(model: object) -> BatchRunner:
    return BatchRunner(current(model), sleep=lambda _: None)


def block(*numbers: float) -> BundleInputs:
    return BundleInputs(np.array(numbers, np.float32), len(numbers))


def beast(batch: np.ndarray) -> Exception | None:
    return ValueError("the number of the beast") if (batch == 666).any() else None


def memory_for(rows: int, error: Callable[[str], Exception]) -> Callable[[np.ndarray], Exception | None]:
    return lambda batch: error("out of memory") if len(batch) > rows else None


def rows_of(share: BatchSlice, count: int) -> list[float | str]:
    """What the block of this share came to, row by row: a number, or what failed."""
    found: list[float | str] = []
    for row in range(share.offset, share.offset + count):
        (each,) = (one for one in share.passes if one.first <= row < one.stop)
        if each.batch is None:
            assert each.stop - each.first == 1
            found.append(str(each.failure))
        else:
            (prediction,) = each.batch.predictions(row - each.first, row - each.first + 1)
            found.append(float(prediction))
    return found


def test_blocks_are_one_batch_and_each_gets_its_share() -> None:
    model = FakeModel()
    first, second, third = passes(model)([block(1), block(2, 3), block(4)])
    assert model.asked == [4]
    assert (rows_of(first, 1), rows_of(second, 2), rows_of(third, 1)) == ([2], [4, 6], [8])
    assert {each.model_id for each in first.passes} == {"m@1"}


def test_times() -> None:
    ticks = iter(range(100))
    run = BatchRunner(current(FakeModel(beast)), clock=lambda: float(next(ticks)))
    (share,) = run([block(1, 666)])
    # The whole batch failed at 1; then each half.
    assert share.batched == 0
    assert [(each.first, each.stop, each.start, each.end) for each in share.passes] == [
        (0, 1, 2, 3),
        (1, 2, 4, 5),
    ]


class TestPoison:
    @pytest.mark.parametrize("place", [0, 17, 49])
    def test_the_offender_stands_alone(self, place: int) -> None:
        numbers = [666 if i == place else i for i in range(50)]
        model = FakeModel(beast)
        first, second = passes(model)([block(*numbers[:20]), block(*numbers[20:])])
        assert [*rows_of(first, 20), *rows_of(second, 30)] == [
            "the number of the beast" if i == place else 2 * i for i in range(50)
        ]
        assert len(model.asked) <= 13

    def test_two_offenders(self) -> None:
        (share,) = passes(FakeModel(beast))([block(1, 666, 2, 666, 3)])
        assert rows_of(share, 5) == [2, "the number of the beast", 4, "the number of the beast", 6]

    def test_the_next_batch_is_whole_again(self) -> None:
        model = FakeModel(beast)
        run = passes(model)
        run([block(1, 666)])
        run([block(1, 2, 3, 4)])
        assert model.asked[-1] == 4

    def test_named_inputs(self) -> None:
        named = [BundleInputs({"x": np.array(numbers, np.float32)}, 2) for numbers in ([1, 666], [2, 3])]
        first, second = passes(FakeModel(beast))(named)
        assert (rows_of(first, 2), rows_of(second, 2)) == ([2, "the number of the beast"], [4, 6])

    def test_a_failure_holds_no_frames(self) -> None:
        """Nor, through them, the tensors of the batch."""
        (share,) = passes(FakeModel(beast))([block(666)])
        (each,) = share.passes
        assert each.failure is not None
        assert each.failure.__traceback__ is None


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
        run = passes(model)
        expected = [2.0 * i for i in range(10)]
        with caplog.at_level(logging.WARNING):
            (share,) = run([block(*range(10))])
        assert rows_of(share, 10) == expected
        assert "out of memory with 10 requests in a batch: at most 5 in the next 500 batches" in caplog.text
        assert "at most 2 in the next" in caplog.text
        model.asked.clear()
        first, second = run([block(*range(5)), block(*range(5, 10))])
        assert [*rows_of(first, 5), *rows_of(second, 5)] == expected
        assert model.asked == [2, 2, 2, 2, 2]

    def test_after_many_batches_more_is_tried_again(self) -> None:
        memory = [1]
        model = FakeModel(lambda batch: MemoryError() if len(batch) > memory[0] else None)
        run = passes(model)
        run([block(1, 2, 3, 4)])
        memory[0] = 4
        model.asked.clear()
        for _ in range(2 * GROW_AFTER + 2):
            run([block(1, 2, 3, 4)])
        assert model.asked == [1] * 4 * GROW_AFTER + [2] * 2 * (GROW_AFTER + 1) + [4]

    def test_a_single_request_waits_for_memory_that_others_give_back(self) -> None:
        slept: list[float] = []
        model = FakeModel(lambda batch: MemoryError() if len(slept) < 2 else None)
        run = BatchRunner(current(model), sleep=slept.append)
        (share,) = run([block(1)])
        assert rows_of(share, 1) == [2]
        assert slept == list(PAUSES_S[:2])

    def test_what_does_not_fit_alone_has_failed(self) -> None:
        big = FakeModel(lambda batch: torch.OutOfMemoryError("no room") if (batch == 9).any() else None)
        (share,) = passes(big)([block(1, 9, 2)])
        assert rows_of(share, 3) == [2, "no room", 4]

    def test_another_model_is_given_its_chance(self) -> None:
        slot = current(FakeModel(memory_for(1, MemoryError)))
        run = BatchRunner(slot, sleep=lambda _: None)
        run([block(1, 2, 3, 4)])
        other = FakeModel()
        other.model_id = "m@2"
        slot.model = cast(Model, other)
        (share,) = run([block(1, 2, 3, 4)])
        assert other.asked == [4]
        assert {each.model_id for each in share.passes} == {"m@2"}

    def test_while_a_candidate_takes_the_room_nothing_is_refused_or_remembered(self) -> None:
        loads = iter([True, True, False])
        crowded = [True]

        def room(batch: np.ndarray) -> Exception | None:
            return torch.OutOfMemoryError("two models") if crowded[0] else None

        def waited() -> bool:
            # The first candidate is followed by another; then there is room again.
            found = next(loads)
            crowded[0] = found and not crowded[0]
            return found

        model = FakeModel(room)
        run = BatchRunner(current(model, waited))
        (share,) = run([block(1, 2)])
        assert rows_of(share, 2) == [2, 4]
        assert set(model.asked) == {2}


def test_a_lost_device_is_nobodys_fault() -> None:
    lost = torch.AcceleratorError("CUDA error: device-side assert triggered")
    with pytest.raises(DeviceLostError, match="device-side assert"):
        passes(FakeModel(lambda _: lost))([block(1, 2)])


@pytest.mark.parametrize("bundles", [[[1, 2, 3, 600]], [[1, 2], [3, 600, 4, 5]]])
def test_a_model_that_works_in_place_is_given_fresh_inputs(bundles: list[list[float]]) -> None:
    def forward(x: torch.Tensor) -> torch.Tensor:
        x.mul_(2)
        if bool((x > 1000).any()):
            raise ValueError("too large")
        return x.sum(dim=1)

    run = passes(Model(forward, InputSpec.parse("1"), "m@1"))
    blocks = [BundleInputs(np.array(numbers, np.float32).reshape(-1, 1), len(numbers)) for numbers in bundles]
    shares = run(blocks)
    found = [
        row for share, numbers in zip(shares, bundles, strict=True) for row in rows_of(share, len(numbers))
    ]
    assert found == [
        "too large" if number == 600 else 2 * number for numbers in bundles for number in numbers
    ]
