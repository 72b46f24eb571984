from __future__ import annotations

import gc
import json
import logging
import sys
import tempfile
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.inference.local import files
from pipeline.inference.local.pointer import ModelPointer
from pipeline.inference.local.watcher import ModelWatcher
from pipeline.model import compute, golden
from pipeline.model.active_model import ActiveModel
from pipeline.model.load import load as load_model
from pipeline.model.model import Model
from pipeline.request.errors import ModelError
from pipeline.request.input_spec import InputSpec
from tests.pipeline.memory_files import OBJECTS
from tests.pipeline.models import Linear, Sum
from tests.waiting import wait_until

SPEC = InputSpec.parse("3")
SUM = "tests.pipeline.models:Sum"
ROW = np.array([1, 1, 1], np.float32)


@pytest.fixture(autouse=True)
def no_objects() -> Iterator[None]:
    OBJECTS.clear()
    yield
    OBJECTS.clear()


class TestPointer:
    @pytest.mark.parametrize(
        ("root", "content", "path"),
        [
            (None, "v1.pt2", "models/v1.pt2"),
            (None, " \t2026/v1 final.pt2 \r\n", "models/2026/v1 final.pt2"),
            (None, "{tmp}/models/v1.pt2", "models/v1.pt2"),
            (None, "old/../v1.pt2", "models/v1.pt2"),
            ("{tmp}", "models/v1.pt2", "models/v1.pt2"),
            ("{tmp}/elsewhere/", "v1.pt2", "elsewhere/v1.pt2"),
        ],
    )
    def test_local(self, tmp_path: Path, root: str | None, content: str, path: str) -> None:
        (tmp_path / "models").mkdir()
        (tmp_path / "models/current").write_text(content.format(tmp=tmp_path))
        pointer = ModelPointer(str(tmp_path / "models/current"), root and root.format(tmp=tmp_path))
        assert pointer.path() == str(tmp_path / path)

    def test_relative_to_the_working_folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        (tmp_path / "current").write_text("v1.pt2")
        assert ModelPointer("current").path() == str(tmp_path / "v1.pt2")

    @pytest.mark.parametrize(
        "content",
        [
            "..",
            ".",
            "../v1.pt2",
            "a/../../v1.pt2",
            "/etc/passwd",
            "{tmp}/models",
            "{tmp}/models-evil/v1.pt2",
            "out/v1.pt2",
            "out.pt2",
            "gs://bucket/v1.pt2",
            "file://{tmp}/models/v1.pt2",
            "v1.pt2\nv2.pt2",
            "v1.pt2\0",
        ],
    )
    def test_local_outside(self, tmp_path: Path, content: str) -> None:
        root = tmp_path / "models"
        root.mkdir()
        (tmp_path / "secret").mkdir()
        (root / "out").symlink_to(tmp_path / "secret")
        (root / "out.pt2").symlink_to("/etc/passwd")
        (root / "current").write_text(content.format(tmp=tmp_path))
        with pytest.raises(ModelError) as caught:
            ModelPointer(str(root / "current")).path()
        text = str(caught.value)
        assert text.startswith(f"--model_pointer: {root}/current holds '")
        assert text.endswith(f"which is no path under --model_root ({root})")

    def test_symbolic_links_that_stay_inside(self, tmp_path: Path) -> None:
        (tmp_path / "models").mkdir()
        (tmp_path / "link").symlink_to(tmp_path / "models")
        (tmp_path / "models/newest.pt2").symlink_to("v2.pt2")
        (tmp_path / "models/current").write_text("newest.pt2")
        pointer = ModelPointer(str(tmp_path / "link/current"))
        # What was looked at is what is loaded, whatever becomes of the link meanwhile.
        assert pointer.path() == str(tmp_path / "models/v2.pt2")

    @pytest.mark.parametrize("root", [None, "memory://bucket/models", "memory://bucket/models/"])
    def test_another_filesystem(self, root: str | None) -> None:
        for content in ("2026/v1.pt2", "memory://bucket/models/2026/v1.pt2"):
            OBJECTS["memory://bucket/models/current"] = f"{content}\n".encode()
            pointer = ModelPointer("memory://bucket/models/current", root)
            assert pointer.path() == "memory://bucket/models/2026/v1.pt2"

    def test_at_the_top_of_a_bucket(self) -> None:
        OBJECTS["memory://bucket/current"] = b"v1.pt2"
        assert ModelPointer("memory://bucket/current").path() == "memory://bucket/v1.pt2"

    @pytest.mark.parametrize(
        "content",
        [
            "../v1.pt2",
            "a/../v1.pt2",
            "./v1.pt2",
            "/v1.pt2",
            "a//v1.pt2",
            "a/",
            "memory://bucket/models/",
            "memory://bucket/models/../v1.pt2",
            "memory://bucket/models-evil/v1.pt2",
            "memory://bucket/v1.pt2",
            "memory://other/models/v1.pt2",
            "MEMORY://bucket/models/v1.pt2",
            "gs://bucket/models/v1.pt2",
        ],
    )
    def test_another_filesystem_outside(self, content: str) -> None:
        OBJECTS["memory://bucket/models/current"] = content.encode()
        with pytest.raises(ModelError, match="no path under --model_root"):
            ModelPointer("memory://bucket/models/current").path()

    def test_a_pointer_and_models_in_different_places(self, tmp_path: Path) -> None:
        OBJECTS["memory://bucket/current"] = b"v1.pt2"
        assert ModelPointer("memory://bucket/current", str(tmp_path)).path() == str(tmp_path / "v1.pt2")
        (tmp_path / "current").write_text("v1.pt2")
        pointer = ModelPointer(str(tmp_path / "current"), "memory://bucket")
        assert pointer.path() == "memory://bucket/v1.pt2"

    @pytest.mark.parametrize(
        ("content", "reason"),
        [
            (None, "there is no file memory://bucket/current"),
            (b"", "memory://bucket/current is empty: write a model's path into it"),
            (b" \n", "memory://bucket/current is empty"),
            (b"x" * 4097, "memory://bucket/current has more than 4,096 bytes"),
            (b"\xff", "memory://bucket/current is not UTF-8"),
            (RuntimeError("storage is away"), "memory://bucket/current cannot be read: storage is away"),
        ],
    )
    def test_unreadable(self, content: bytes | Exception | None, reason: str) -> None:
        if content is not None:
            OBJECTS["memory://bucket/current"] = content
        pointer = ModelPointer("memory://bucket/current")
        with pytest.raises(OSError, match=f"^--model_pointer: {reason}"):
            pointer.read()
        with pytest.raises(ModelError, match=f"^--model_pointer: {reason}"):
            pointer.path()


class Stub:
    """A model as far as swapping knows it."""

    def __init__(self, name: str, outputs: str = "float") -> None:
        self.model_id = f"{name}@1"
        self.outputs = outputs


class Counted(ModelPointer):
    """Counts the looks, so that a test can wait for some to have passed."""

    looks = 0

    def read(self) -> str:
        self.looks += 1
        return super().read()

    def let_pass(self, looks: int = 3) -> None:
        end = self.looks + looks
        wait_until(lambda: self.looks >= end)


class Bench:
    """A watcher over stub models: `load` has each model's maker by name, and remembers what it loaded."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "current"
        self.point_to("v1")
        self.loads: list[str] = []
        self.makers: dict[str, Callable[[], Any]] = {}
        self.pointer = Counted(str(self.file))
        self.current = ActiveModel(Stub("v1"), str(folder / "v1"))  # type: ignore[arg-type]
        self.watcher = ModelWatcher(self.current, self.pointer, self.load, 0.001)
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
        return self.current.model.model_id == f"{name}@1"

    def counted(self, swaps: int, refusals: int) -> bool:
        """Whether that many were counted in all."""
        self.counts = [a + b for a, b in zip(self.counts, self.current.take_counts(), strict=True)]
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
            (
                torch.OutOfMemoryError("CUDA out of memory."),
                "OutOfMemoryError: CUDA out of memory. (during a swap, memory holds two models)",
            ),
            (MemoryError(), "MemoryError: (during a swap, memory holds two models)"),
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
        wait_until(lambda: "fails on 128 rows (during a swap, memory holds two models)" in caplog.text)

    def test_refuses_another_output(self, bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
        bench.makers["v2"] = lambda: Stub("v2", "float[2]")
        bench.watcher.start()
        bench.point_to("v2")
        wait_until(lambda: bench.counted(0, 1))
        bench.pointer.let_pass()
        assert bench.serves("v1")
        (record,) = caplog.records
        assert record.getMessage().endswith(
            f"--model_pointer: {bench.file.parent}/v2 answers float[2], the model of this job float: "
            "for another output, start another job"
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
        monkeypatch.setattr("pipeline.inference.local.yielding._WORK_S", 0.0)
        rests: list[tuple[str, float]] = []
        monkeypatch.setattr(
            "pipeline.inference.local.yielding.time.sleep",
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


class TestClose:
    def test_between_two_looks(self, bench: Bench) -> None:
        watcher = ModelWatcher(bench.current, bench.pointer, bench.load, 1e6)
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
        monkeypatch.setattr("pipeline.inference.local.watcher._JOIN_S", 0.01)
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
        batch = bench.current.model
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


def load(path: str) -> Model:
    """As the job loads what a pointer leads to."""
    label = f"--model_pointer: {path}"
    with tempfile.TemporaryDirectory() as folder:
        model = load_model(
            str(files.fetch(path, Path(folder))),
            SPEC,
            model_class=SUM if path.endswith(".pt") else None,
            max_batch_size=4,
            label=label,
        )
        golden_file = files.fetch(path + golden.SUFFIX, Path(folder))
        golden.check(model, golden_file, SPEC, "fp32", max_batch_size=4, label=label)
    return model


def write_model(folder: Path, name: str, scale: float, golden_scale: float | None = None) -> None:
    """Write a model of `scale` times the sum, and its golden set (for `golden_scale`, if given)."""
    if name.endswith(".pt"):
        torch.save(Sum(scale).state_dict(), folder / name)
    else:
        shapes = {"features": {0: torch.export.Dim("batch")}}
        module = Linear()
        torch.nn.init.constant_(module.weight, scale)
        torch.export.save(
            torch.export.export(module, (torch.zeros(2, 3),), dynamic_shapes=shapes), folder / name
        )
    lines = [{"features": [i, 1, 1], "prediction": (golden_scale or scale) * (i + 2)} for i in range(10)]
    (folder / (name + golden.SUFFIX)).write_text("\n".join(map(json.dumps, lines)))


class TestRealModels:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        write_model(tmp_path, "v1.pt2", 1)
        write_model(tmp_path, "v2.pt2", 2)
        write_model(tmp_path, "v3.pt", 3)
        write_model(tmp_path, "wrong.pt2", 4, golden_scale=5)
        return tmp_path

    @pytest.mark.parametrize("remote", [False, True])
    def test_there_and_back(self, folder: Path, remote: bool, caplog: pytest.LogCaptureFixture) -> None:
        def point_to(content: str) -> None:
            if remote:
                OBJECTS["memory://bucket/current"] = content.encode()
            else:
                (folder / "current").write_text(content)

        if remote:
            for file in folder.iterdir():
                OBJECTS[f"memory://bucket/{file.name}"] = file.read_bytes()
        point_to("v1.pt2")
        pointer = ModelPointer("memory://bucket/current" if remote else str(folder / "current"))
        path = pointer.path()
        current = ActiveModel(load(path), path)
        first_id = current.model.model_id
        watcher = ModelWatcher(current, pointer, load, 0.001)
        watcher.start()
        try:
            for name, scale in (("v2.pt2", 2), ("v1.pt2", 1), ("v3.pt", 3), ("v1.pt2", 1)):
                point_to(name)
                wait_until(lambda name=name: current.model.model_id.startswith(f"{name}@"))  # type: ignore[misc]
                assert float(current.model.predict([ROW])[0]) == 3 * scale
            assert current.model.model_id == first_id
            point_to("wrong.pt2")
            wait_until(lambda: f"wrong.pt2{golden.SUFFIX}, line 1: prediction: the model" in caplog.text)
            point_to("gone.pt2")
            wait_until(lambda: "gone.pt2" in caplog.text and "there is no file" in caplog.text)
        finally:
            watcher.close()
        assert current.take_counts() == (4, 2)
        assert current.model.model_id == first_id

    @pytest.mark.parametrize("name", ["v1.pt2", "v3.pt"])
    def test_the_old_weights_are_freed(self, folder: Path, name: str) -> None:
        current = ActiveModel(load(str(folder / name)), str(folder / name))
        (folder / "current").write_text("v2.pt2")
        old = weakref.ref(current.model)
        weights = [
            weakref.ref(thing)
            for module in vars(current.model).values()
            if isinstance(module, torch.nn.Module)
            for thing in module.parameters()
        ]
        assert weights
        watcher = ModelWatcher(current, ModelPointer(str(folder / "current")), load, 0.001)
        watcher.start()
        wait_until(lambda: old() is None)
        gc.collect()
        assert [weight() for weight in weights] == [None]
        watcher.close()
