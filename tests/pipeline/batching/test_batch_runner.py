"""Batches that fail: what the model is called with, and what each bundle gets back."""

from __future__ import annotations

import logging
import threading
import weakref
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
from pipeline.batching.batcher import AbandonedError, Batcher, Renew
from pipeline.model import active_model, compute, gpu_memory
from pipeline.model.active_model import ActiveModel
from pipeline.model.model import Model
from pipeline.model.outputs import OutputRows
from pipeline.request.errors import TransientError
from pipeline.request.input_spec import Inputs, InputSpec
from tests.pipeline.batching.test_batcher import Clock
from tests.waiting import LIMIT_S


class FakeModel:
    """A model that doubles each row, records the size of each batch, and fails where `fail` says so."""

    def __init__(self, fail: Callable[[np.ndarray], Exception | None] = lambda _: None) -> None:
        self.model_id = "m@1"
        self.asked: list[int] = []
        self._fail = fail

    def run(self, inputs: list[Inputs], rows: int) -> OutputRows:
        batch = np.concatenate([each["x"] if isinstance(each, dict) else each for each in inputs])
        assert len(batch) == rows
        self.asked.append(rows)
        if (error := self._fail(batch)) is not None:
            raise error
        return OutputRows([None], [2 * batch])


def active(model: object, waited: Callable[[Renew], bool] = lambda _: False) -> ActiveModel:
    return cast(ActiveModel, SimpleNamespace(model=model, waited_for_candidate=waited))


def runner(model: object) -> BatchRunner:
    return BatchRunner(active(model), sleep=lambda _: None)


def bundle(*numbers: float) -> BundleInputs:
    return BundleInputs(np.array(numbers, np.float32), len(numbers))


def beast(batch: np.ndarray) -> Exception | None:
    return ValueError("the number of the beast") if (batch == 666).any() else None


def memory_for(rows: int, error: Callable[[str], Exception]) -> Callable[[np.ndarray], Exception | None]:
    return lambda batch: error("out of memory") if len(batch) > rows else None


def rows_of(batch_slice: BatchSlice, count: int) -> list[float | str]:
    """Describe the outcome of each row of a bundle: a number, or what failed."""
    found: list[float | str] = []
    for row in range(batch_slice.offset, batch_slice.offset + count):
        (each,) = (one for one in batch_slice.passes if one.first <= row < one.stop)
        if each.outputs is None:
            assert each.stop - each.first == 1
            found.append(str(each.failure))
        else:
            (prediction,) = each.outputs.predictions(row - each.first, row - each.first + 1)
            found.append(float(prediction))
    return found


def test_bundles_are_one_batch_and_each_gets_its_slice() -> None:
    model = FakeModel()
    first, second, third = runner(model)([bundle(1), bundle(2, 3), bundle(4)])
    assert model.asked == [4]
    assert (rows_of(first, 1), rows_of(second, 2), rows_of(third, 1)) == ([2], [4, 6], [8])
    assert {each.model_id for each in first.passes} == {"m@1"}


def test_times() -> None:
    ticks = iter(range(100))
    run = BatchRunner(active(FakeModel(beast)), clock=lambda: float(next(ticks)))
    (batch_slice,) = run([bundle(1, 666)])
    # The whole batch failed at 1; then each half.
    assert batch_slice.batched == 0
    assert [(each.first, each.stop, each.start, each.end) for each in batch_slice.passes] == [
        (0, 1, 2, 3),
        (1, 2, 4, 5),
    ]


class TestPoison:
    @pytest.mark.parametrize("place", [0, 17, 49])
    def test_the_offender_stands_alone(self, place: int) -> None:
        numbers = [666 if i == place else i for i in range(50)]
        model = FakeModel(beast)
        first, second = runner(model)([bundle(*numbers[:20]), bundle(*numbers[20:])])
        assert [*rows_of(first, 20), *rows_of(second, 30)] == [
            "the number of the beast" if i == place else 2 * i for i in range(50)
        ]
        assert len(model.asked) <= 13

    def test_two_offenders(self) -> None:
        (batch_slice,) = runner(FakeModel(beast))([bundle(1, 666, 2, 666, 3)])
        assert rows_of(batch_slice, 5) == [2, "the number of the beast", 4, "the number of the beast", 6]

    def test_the_next_batch_is_whole_again(self) -> None:
        model = FakeModel(beast)
        run = runner(model)
        run([bundle(1, 666)])
        run([bundle(1, 2, 3, 4)])
        assert model.asked[-1] == 4

    def test_named_inputs(self) -> None:
        named = [BundleInputs({"x": np.array(numbers, np.float32)}, 2) for numbers in ([1, 666], [2, 3])]
        first, second = runner(FakeModel(beast))(named)
        assert (rows_of(first, 2), rows_of(second, 2)) == ([2, "the number of the beast"], [4, 6])

    def test_a_failure_holds_no_frames(self) -> None:
        """Nor, through them, the tensors of the batch."""
        (batch_slice,) = runner(FakeModel(beast))([bundle(666)])
        (each,) = batch_slice.passes
        assert each.failure is not None
        assert each.failure.__traceback__ is None

    def test_nor_do_those_that_led_to_it(self) -> None:
        def fail(_batch: np.ndarray) -> Exception | None:
            try:
                raise KeyError("first")
            except KeyError as error:
                raise ValueError("then") from error

        (batch_slice,) = runner(FakeModel(fail))([bundle(1)])
        (each,) = batch_slice.passes
        assert each.failure is not None
        assert isinstance(each.failure.__cause__, KeyError)
        assert each.failure.__cause__.__traceback__ is None


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
        run = runner(model)
        expected = [2.0 * i for i in range(10)]
        with caplog.at_level(logging.WARNING):
            (batch_slice,) = run([bundle(*range(10))])
        assert rows_of(batch_slice, 10) == expected
        assert "out of memory with 10 requests in a batch: at most 5 in the next 500 batches" in caplog.text
        assert "at most 2 in the next" in caplog.text
        model.asked.clear()
        first, second = run([bundle(*range(5)), bundle(*range(5, 10))])
        assert [*rows_of(first, 5), *rows_of(second, 5)] == expected
        assert model.asked == [2, 2, 2, 2, 2]

    def test_after_many_batches_more_is_tried_again(self) -> None:
        memory = [1]
        model = FakeModel(lambda batch: MemoryError() if len(batch) > memory[0] else None)
        run = runner(model)
        run([bundle(1, 2, 3, 4)])
        memory[0] = 4
        model.asked.clear()
        for _ in range(2 * GROW_AFTER + 2):
            run([bundle(1, 2, 3, 4)])
        assert model.asked == [1] * 4 * GROW_AFTER + [2] * 2 * (GROW_AFTER + 1) + [4]

    def test_a_single_request_waits_for_memory_that_others_give_back(self) -> None:
        slept: list[float] = []
        model = FakeModel(lambda batch: MemoryError() if len(slept) < 2 else None)
        run = BatchRunner(active(model), sleep=slept.append)
        (batch_slice,) = run([bundle(1)])
        assert rows_of(batch_slice, 1) == [2]
        assert slept == list(PAUSES_S[:2])

    def test_what_does_not_fit_alone_has_failed(self) -> None:
        big = FakeModel(lambda batch: torch.OutOfMemoryError("no room") if (batch == 9).any() else None)
        (batch_slice,) = runner(big)([bundle(1, 9, 2)])
        assert rows_of(batch_slice, 3) == [2, "no room", 4]

    def test_another_model_is_given_its_chance(self) -> None:
        slot = active(FakeModel(memory_for(1, MemoryError)))
        run = BatchRunner(slot, sleep=lambda _: None)
        run([bundle(1, 2, 3, 4)])
        other = FakeModel()
        other.model_id = "m@2"
        slot.model = cast(Model, other)
        (batch_slice,) = run([bundle(1, 2, 3, 4)])
        assert other.asked == [4]
        assert {each.model_id for each in batch_slice.passes} == {"m@2"}

    def test_while_a_candidate_takes_the_room_nothing_is_refused_or_remembered(self) -> None:
        loads = iter([True, True, False])
        crowded = [True]

        def room(batch: np.ndarray) -> Exception | None:
            return torch.OutOfMemoryError("two models") if crowded[0] else None

        def waited(_renew: Renew) -> bool:
            # The first candidate is followed by another; then there is room again.
            found = next(loads)
            crowded[0] = found and not crowded[0]
            return found

        model = FakeModel(room)
        run = BatchRunner(active(model, waited))
        (batch_slice,) = run([bundle(1, 2)])
        assert rows_of(batch_slice, 2) == [2, 4]
        assert set(model.asked) == {2}

    def test_after_a_swap_the_old_model_is_gone_when_its_rows_are_tried_again(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Memory holds one of the two: nothing is refused, and nothing remembered of the new one."""
        released: list[bool] = []
        old = FakeModel(lambda _: MemoryError("two models"))
        old_gone = weakref.ref(old)
        new = FakeModel(lambda _: None if old_gone() is None else MemoryError("the old one is still here"))
        new.model_id = "m@2"
        models = ActiveModel(cast(Model, old))
        monkeypatch.setattr(compute, "release_cached_memory", lambda: released.append(old_gone() is None))
        monkeypatch.setattr(active_model, "_LOOK_S", 0.001)
        run = BatchRunner(models, sleep=lambda _: None)
        loading, loaded = threading.Event(), threading.Event()

        def watch() -> None:
            with models.candidate():
                loading.set()
                assert loaded.wait(LIMIT_S)
                models.swap(cast(Model, new), "new")

        def renew() -> None:
            if old_gone() is not None and cast(FakeModel, old_gone()).asked:
                loaded.set()

        del old
        watcher = threading.Thread(target=watch)
        watcher.start()
        assert loading.wait(LIMIT_S)
        first, second = run([bundle(1, 2), bundle(3, 4)], renew)
        watcher.join()
        assert [*rows_of(first, 2), *rows_of(second, 2)] == [2, 4, 6, 8]
        assert new.asked == [4]
        assert run._limits == {}
        # What it leaves in the allocator's cache is given back once it is gone.
        assert released[-1]

    def test_a_row_whose_memory_others_hold_is_not_to_blame(self, monkeypatch: pytest.MonkeyPatch) -> None:
        asked: list[Exception] = []

        class Watch:
            def others_took_it(self, error: Exception) -> bool:
                asked.append(error)
                return str(error) == "others"

        monkeypatch.setattr(gpu_memory, "Watch", Watch)
        texts = {1.0: "others", 2.0: "too large"}
        model = FakeModel(lambda batch: torch.OutOfMemoryError(texts[float(batch[0])]))
        (batch_slice,) = runner(model)([bundle(1, 2)])
        healthy, too_large = (each.failure for each in batch_slice.passes)
        assert isinstance(healthy, TransientError)
        assert isinstance(too_large, torch.OutOfMemoryError)
        assert [str(error) for error in asked] == ["others", "too large"]


def test_each_pass_is_within_the_time_limit_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """All requests of a batch are bad: 31 passes of 0.04 s, none of which takes longer than the limit."""
    clock = Clock(monkeypatch)

    def fail(_batch: np.ndarray) -> Exception:
        clock.advance(0.04)
        return ValueError("bad")

    model = FakeModel(fail)
    batcher: Batcher[BundleInputs, BatchSlice] = Batcher(
        runner(model), max_batch_size=16, max_wait_s=0, timeout_s=0.05
    )
    batch_slice = batcher.submit(bundle(*range(16)), 16)
    batcher.close()
    assert rows_of(batch_slice, 16) == ["bad"] * 16
    assert len(model.asked) == 31


def test_an_abandoned_batch_ends_between_two_passes() -> None:
    model = FakeModel(beast)
    left = iter(range(4))

    def renew() -> None:
        if next(left, None) is None:
            raise AbandonedError

    with pytest.raises(AbandonedError):
        runner(model)([bundle(*[666] * 64)], renew)
    assert len(model.asked) == 4


def test_a_lost_device_is_nobodys_fault() -> None:
    lost = torch.AcceleratorError("CUDA error: device-side assert triggered")
    with pytest.raises(DeviceLostError, match="device-side assert"):
        runner(FakeModel(lambda _: lost))([bundle(1, 2)])


@pytest.mark.parametrize("bundles", [[[1, 2, 3, 600]], [[1, 2], [3, 600, 4, 5]]])
def test_a_model_that_works_in_place_is_given_fresh_inputs(bundles: list[list[float]]) -> None:
    def forward(x: torch.Tensor) -> torch.Tensor:
        x.mul_(2)
        if bool((x > 1000).any()):
            raise ValueError("too large")
        return x.sum(dim=1)

    run = runner(Model(forward, InputSpec.parse("1"), "m@1"))
    inputs = [BundleInputs(np.array(numbers, np.float32).reshape(-1, 1), len(numbers)) for numbers in bundles]
    slices = run(inputs)
    found = [
        row
        for batch_slice, numbers in zip(slices, bundles, strict=True)
        for row in rows_of(batch_slice, len(numbers))
    ]
    assert found == [
        "too large" if number == 600 else 2 * number for numbers in bundles for number in numbers
    ]
