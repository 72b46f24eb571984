"""The watcher over stub models: what it swaps, refuses, logs and counts, and how it stops."""

from __future__ import annotations

import errno
import logging
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.inference.local.beam_files import BEAM_FILES
from pipeline.model import compute
from pipeline.model.active_model import ActiveModel
from pipeline.model.model import Model
from pipeline.model.swapping.pointer import ModelPointer
from pipeline.model.swapping.watcher import ModelWatcher
from pipeline.request.errors import ModelError
from tests.waiting import LIMIT_S, wait_until


class Stub:
    """The part of a model that swapping uses."""

    def __init__(self, name: str, outputs: str = "float") -> None:
        self.model_id = f"{name}@1"
        self.outputs = outputs


class Counted(ModelPointer):
    """A pointer that counts the polls, so that a test can wait for some to have passed."""

    polls = 0

    def read(self) -> str:
        self.polls += 1
        return super().read()

    def let_pass(self, polls: int = 3) -> None:
        end = self.polls + polls
        wait_until(lambda: self.polls >= end)


class Bench:
    """A watcher over stub models: `load` calls the maker of that name, and records what it loaded."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "current"
        self.point_to("v1")
        self.loads: list[str] = []
        self.makers: dict[str, Callable[[], Any]] = {}
        self.pointer = Counted(BEAM_FILES, str(self.file))
        self.active = ActiveModel(Stub("v1"), str(folder / "v1"))  # type: ignore[arg-type]
        self.watcher = ModelWatcher(self.active, self.pointer, self.load, 0.001)
        self.counts = [0, 0]

    def load(self, path: str) -> Model:
        name = Path(path).name
        self.loads.append(name)
        return self.makers.get(name, lambda: Stub(name))()

    def point_to(self, content: str) -> None:
        # As the documentation asks for it: never seen half written.
        new = self.file.with_name("current.new")
        new.write_text(content)
        new.rename(self.file)

    def serves(self, name: str) -> bool:
        return self.active.model.model_id == f"{name}@1"

    def counted(self, swaps: int, refusals: int) -> bool:
        """Return whether so many were counted in all."""
        self.counts = [a + b for a, b in zip(self.counts, self.active.take_counts(), strict=True)]
        return self.counts == [swaps, refusals]


@pytest.fixture
def bench(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Iterator[Bench]:
    caplog.set_level(logging.INFO)
    bench = Bench(tmp_path)
    yield bench
    bench.watcher.close()


class TestWatcher:
    def test_nothing_new(self, bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
        bench.watcher.start()
        bench.pointer.let_pass()
        assert (bench.loads, bench.counted(0, 0), caplog.text) == ([], True, "")

    def test_there_and_back(self, bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
        bench.watcher.start()
        for name in ("v2", "v1", "v2"):
            bench.point_to(name)
            wait_until(lambda name=name: bench.serves(name))  # type: ignore[misc]
            bench.pointer.let_pass()
        assert bench.loads == ["v2", "v1", "v2"]
        assert bench.counted(3, 0)
        assert [record.getMessage().rpartition(", in ")[0] for record in caplog.records] == [
            "swapped the model: v1@1 -> v2@1",
            "swapped the model: v2@1 -> v1@1",
            "swapped the model: v1@1 -> v2@1",
        ]
        assert {record.levelname for record in caplog.records} == {"INFO"}

    def test_another_spelling_of_the_same_model(self, bench: Bench) -> None:
        bench.watcher.start()
        bench.point_to(f"  {bench.file.parent}/v1\n")
        bench.pointer.let_pass()
        assert (bench.loads, bench.counted(0, 0)) == ([], True)

    @pytest.mark.parametrize(
        ("error", "reason"),
        [
            (ModelError("--model_pointer: v2 is\n  damaged"), "--model_pointer: v2 is damaged"),
            (ZeroDivisionError("division"), "ZeroDivisionError: division"),
        ],
    )
    def test_refuses_what_cannot_be_loaded(
        self, bench: Bench, caplog: pytest.LogCaptureFixture, error: Exception, reason: str
    ) -> None:
        def fail() -> None:
            raise error

        bench.makers["v2"] = fail
        bench.watcher.start()
        bench.point_to("v2")
        wait_until(lambda: bench.counted(0, 1))
        bench.pointer.let_pass()
        assert bench.serves("v1")
        assert bench.loads == ["v2"]  # and was not tried again
        assert [(record.levelname, " ".join(record.getMessage().split())) for record in caplog.records] == [
            ("WARNING", f"refused a new model, going on with v1@1: {reason}")
        ]
        assert "\n" not in caplog.records[0].getMessage()

    def test_out_of_memory_within_a_model_error(self, bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
        def fail() -> None:
            try:
                raise MemoryError
            except MemoryError as error:
                raise ModelError("--model_pointer: v2 fails on 128 rows") from error

        bench.makers["v2"] = fail
        bench.watcher.start()
        bench.point_to("v2")
        wait_until(lambda: bench.counted(0, 1))
        wait_until(lambda: "fails on 128 rows (during a swap, memory holds two models); it is" in caplog.text)

    @pytest.mark.parametrize(
        ("error", "reason"),
        [
            (
                torch.OutOfMemoryError("CUDA out of memory."),
                "OutOfMemoryError: CUDA out of memory. (during a swap, memory holds two models); it is tried "
                "again",
            ),
            (MemoryError(), "MemoryError: (during a swap, memory holds two models); it is tried again"),
            (
                OSError(errno.ENOSPC, "No space left on device"),
                "OSError: [Errno 28] No space left on device; it is tried again",
            ),
        ],
    )
    def test_tries_again_what_found_no_room(
        self, bench: Bench, caplog: pytest.LogCaptureFixture, error: Exception, reason: str
    ) -> None:
        attempts: list[int] = []

        def make() -> Stub:
            attempts.append(1)
            if len(attempts) < 4:
                raise error
            return Stub("v2")

        bench.makers["v2"] = make
        bench.watcher.start()
        bench.point_to("v2")
        wait_until(lambda: bench.serves("v2"))
        assert bench.loads == ["v2"] * 4
        # Counted and told once.
        wait_until(lambda: "swapped" in caplog.text)
        assert bench.counted(1, 1)
        refusal, _ = [" ".join(record.getMessage().split()) for record in caplog.records]
        assert refusal == f"refused a new model, going on with v1@1: {reason}"

    def test_refuses_another_output(self, bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
        bench.makers["v2"] = lambda: Stub("v2", "float[2]")
        bench.watcher.start()
        bench.point_to("v2")
        wait_until(lambda: bench.counted(0, 1))
        bench.pointer.let_pass()
        assert bench.serves("v1")
        (record,) = caplog.records
        assert record.getMessage().endswith(
            f"--model_pointer: {bench.file.parent}/v2 answers float[2], the model in use float: "
            "for another output, start another job or endpoint"
        )

    def test_refuses_a_path_outside_the_root(self, bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
        bench.watcher.start()
        bench.point_to("../v2")
        wait_until(lambda: bench.counted(0, 1))
        bench.pointer.let_pass()
        assert bench.loads == []
        (record,) = caplog.records
        assert "holds '../v2', which is no path under --model_root" in record.getMessage()

    def test_after_a_refusal(self, bench: Bench) -> None:
        def fail() -> None:
            raise ModelError("no")

        bench.makers["bad"] = fail
        bench.watcher.start()
        bench.point_to("bad")
        wait_until(lambda: bench.counted(0, 1))
        # Back to what is served: nothing to do, but the bad one is tried again when it is named again.
        bench.point_to("v1")
        bench.pointer.let_pass()
        bench.point_to("bad")
        wait_until(lambda: bench.counted(0, 2))
        bench.point_to("v2")
        wait_until(lambda: bench.serves("v2"))
        assert bench.loads == ["bad", "bad", "v2"]

    def test_a_pointer_that_cannot_be_read(self, bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
        bench.file.unlink()
        bench.watcher.start()
        bench.pointer.let_pass()
        bench.file.touch()
        bench.pointer.let_pass()
        bench.point_to("v1")
        bench.pointer.let_pass()
        bench.point_to("v2")
        wait_until(lambda: bench.counted(1, 0))
        texts = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
        assert texts == [
            f"--model_pointer: there is no file {bench.file}; going on with v1@1",
            f"--model_pointer: {bench.file} is empty: write a model's path into it; going on with v1@1",
        ]

    def test_a_load_rests_and_nothing_else_does(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("pipeline.model.swapping.yielding._WORK_S", 0.0)
        rests: list[tuple[str, float]] = []
        monkeypatch.setattr(
            "pipeline.model.swapping.yielding.time.sleep",
            lambda seconds: rests.append((threading.current_thread().name, seconds)),
        )

        def load() -> Stub:
            for _ in range(3):
                len("called")
            return Stub("v2")

        bench.makers["v2"] = load
        bench.watcher.start()
        bench.point_to("v2")
        wait_for_swap = threading.Event()
        while not bench.serves("v2"):
            wait_for_swap.wait(0.005)
        bench.watcher.close()
        assert len(rests) >= 3
        assert set(rests) == {("model watcher", 0.0015)}
        assert sys.getprofile() is None


class TestTurn:
    def test_what_the_pointer_names_by_then_is_loaded(self, bench: Bench) -> None:
        """A candidate that has been taken back while the turn was waited for is not loaded."""
        waits, goes_on = threading.Event(), threading.Event()

        @contextmanager
        def turn() -> Iterator[None]:
            waits.set()
            assert goes_on.wait(LIMIT_S)
            yield

        watcher = ModelWatcher(bench.active, bench.pointer, bench.load, 0.001, turn)
        bench.point_to("v2")
        watcher.start()
        assert waits.wait(LIMIT_S)
        bench.point_to("v3")
        goes_on.set()
        wait_until(lambda: bench.serves("v3"))
        watcher.close()
        assert bench.loads == ["v3"]

    def test_a_turn_that_cannot_be_had(self, bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
        turns: list[AbstractContextManager[None]] = []

        def turn() -> AbstractContextManager[None]:
            turns.append(nullcontext())
            if len(turns) < 3:
                raise OSError("no turn")
            return turns[-1]

        watcher = ModelWatcher(bench.active, bench.pointer, bench.load, 0.001, turn)
        bench.point_to("v2")
        watcher.start()
        wait_until(lambda: bench.serves("v2"))
        watcher.close()
        assert caplog.messages[0] == "no turn; going on with v1@1"


class TestClose:
    def test_between_two_polls(self, bench: Bench) -> None:
        watcher = ModelWatcher(bench.active, bench.pointer, bench.load, 1e6)
        watcher.start()
        watcher.close()
        assert "model watcher" not in {thread.name for thread in threading.enumerate()}
        watcher.close()

    def test_before_the_start(self, bench: Bench) -> None:
        bench.watcher.close()

    @pytest.mark.parametrize("fails", [False, True])
    def test_during_a_load(
        self, bench: Bench, fails: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setattr("pipeline.model.swapping.watcher._JOIN_S", 0.01)
        goes_on = threading.Event()

        def slow() -> Stub:
            goes_on.wait()
            if fails:
                raise ModelError("no")
            return Stub("v2")

        bench.makers["v2"] = slow
        bench.watcher.start()
        bench.point_to("v2")
        wait_until(lambda: bench.loads)
        (thread,) = (t for t in threading.enumerate() if t.name == "model watcher")
        bench.watcher.close()
        assert thread.is_alive()  # close did not wait for the load
        goes_on.set()
        thread.join()
        assert bench.serves("v1")
        assert (bench.counted(0, 0), caplog.text) == (True, "")


class TestMemory:
    def test_the_old_model_goes_with_its_last_batch(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        released: list[bool] = []
        batch = bench.active.model
        old = weakref.ref(batch)
        monkeypatch.setattr(compute, "release_cached_memory", lambda: released.append(old() is None))
        bench.watcher.start()
        bench.point_to("v2")
        wait_until(lambda: bench.serves("v2"))
        bench.pointer.let_pass()
        assert released == []
        del batch
        # Without a collection of cycles, which would hold every thread up.
        assert old() is None
        wait_until(lambda: released)
        bench.pointer.let_pass()
        assert released == [True]

    def test_a_refused_one_goes_at_once(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        refused: list[weakref.ref[Stub]] = []
        released: list[bool] = []
        monkeypatch.setattr(compute, "release_cached_memory", lambda: released.append(refused[0]() is None))

        def another_output() -> Stub:
            model = Stub("v2", "float[2]")
            refused.append(weakref.ref(model))
            return model

        bench.makers["v2"] = another_output
        bench.watcher.start()
        bench.point_to("v2")
        wait_until(lambda: released)
        assert released == [True]
