"""The process's model from its flags: where it is found, what is refused, and what all bundles share."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import orjson
import pytest
import torch

from pipeline.inference.local.process_model import ProcessModel
from pipeline.model import gpu_memory
from pipeline.model.compute import Compute
from pipeline.options import workers
from pipeline.request.errors import ModelError, TransientError
from pipeline.request.messages import DeadLetter, Request, Result, Timeline
from tests.pipeline.job_options import local_job_options
from tests.pipeline.memory_files import OBJECTS
from tests.pipeline.models import Linear, Sum
from tests.waiting import LIMIT_S, wait_until

ROOT = Path(__file__).parents[4]
SUM = "--model_class=tests.pipeline.models:Sum"


def requests(*firsts: float) -> list[Request]:
    return [
        Request(f"r{first:g}", np.array([first, 1, 1], np.float32), b"%g" % first, {}, b"{}", Timeline())
        for first in firsts
    ]


OpenModel = Callable[..., ProcessModel]


def write_version(folder: Path, name: str, scale: float, **golden: object) -> str:
    """Write a state_dict of Sum, and its golden set beside it."""
    torch.save(Sum(scale).state_dict(), folder / name)
    body = {"features": [1, 1, 1], "prediction": 3 * scale, **golden}
    (folder / f"{name}.golden.jsonl").write_bytes(orjson.dumps(body))
    return name


def point(folder: Path, name: str) -> None:
    (folder / "new").write_text(name)
    (folder / "new").replace(folder / "current")


@pytest.fixture
def opened() -> Iterator[list[ProcessModel]]:
    models: list[ProcessModel] = []
    yield models
    for model in models:
        model.close()


@pytest.fixture
def open_model(opened: list[ProcessModel]) -> OpenModel:
    def open_with(*flags: str) -> ProcessModel:
        options = local_job_options("--input_shape=3", "--max_batch_size=8", *flags)
        opened.append(ProcessModel(options, on_dataflow=False))
        return opened[-1]

    return open_with


def answers(model: ProcessModel, *firsts: float) -> list[tuple[float, str]]:
    found = model.submit(requests(*firsts))
    assert all(isinstance(answer, Result) for answer in found)
    return [(float(answer.prediction), answer.model_id) for answer in found]  # type: ignore[union-attr]


class TestFixed:
    def test_answers(self, tmp_path: Path, open_model: OpenModel) -> None:
        write_version(tmp_path, "m.pt", 2)
        model = open_model(f"--model_path={tmp_path / 'm.pt'}", SUM)
        (first, model_id), (second, _) = answers(model, 1, 2)
        assert (first, second) == (6, 8)
        assert model_id.startswith("m.pt@")
        assert model_id in str(model)

    def test_many_bundles_at_once(self, tmp_path: Path, open_model: OpenModel) -> None:
        write_version(tmp_path, "m.pt", 1)
        model = open_model(f"--model_path={tmp_path / 'm.pt'}", SUM)

        def bundles(thread: int) -> None:
            for n in range(50):
                first = 1000 * thread + n
                good, bad = model.submit(requests(first, 666))
                assert isinstance(good, Result)
                assert float(good.prediction) == first + 2
                assert isinstance(bad, DeadLetter)
                assert "beast" in bad.error_message

        with ThreadPoolExecutor(12) as pool:
            for done in [pool.submit(bundles, thread) for thread in range(1, 13)]:
                done.result(LIMIT_S)

    def test_the_file_is_named(self, open_model: OpenModel) -> None:
        with pytest.raises(ModelError, match=r"--model_path: /no/such\.pt2"):
            open_model("--model_path=/no/such.pt2")

    def test_closed(self, tmp_path: Path, open_model: OpenModel) -> None:
        write_version(tmp_path, "m.pt", 1)
        model = open_model(f"--model_path={tmp_path / 'm.pt'}", SUM)
        model.close()
        with pytest.raises(TransientError, match="stopping"):
            model.submit(requests(1))

    @pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
    def test_no_gpu_is_no_reason_to_take_the_cpu(self, tmp_path: Path, open_model: OpenModel) -> None:
        write_version(tmp_path, "m.pt", 1)
        with pytest.raises(ModelError, match="--device=gpu"):
            open_model(f"--model_path={tmp_path / 'm.pt'}", SUM, "--device=gpu")

    def test_threads_of_the_thread_that_computes(self, tmp_path: Path, open_model: OpenModel) -> None:
        torch.save(Linear().state_dict(), tmp_path / "m.pt")
        before = torch.get_num_threads()
        try:
            model = open_model(
                f"--model_path={tmp_path / 'm.pt'}",
                "--model_class=tests.pipeline.models:Threads",
                "--torch_threads=3",
            )
            assert [number for number, _ in answers(model, 1)] == [3]
        finally:
            torch.set_num_threads(before)


class TestPointer:
    def test_there_and_back(self, tmp_path: Path, open_model: OpenModel) -> None:
        write_version(tmp_path, "v1.pt", 1)
        write_version(tmp_path, "v2.pt", -2)
        point(tmp_path, "v1.pt")
        model = open_model(f"--model_pointer={tmp_path / 'current'}", "--model_refresh_s=0.01", SUM)

        def now() -> tuple[float, str]:
            ((prediction, model_id),) = answers(model, 1)
            return prediction, model_id.partition("@")[0]

        assert now() == (3, "v1.pt")
        point(tmp_path, "v2.pt")
        wait_until(lambda: now() == (-6, "v2.pt"))
        point(tmp_path, "v1.pt")
        wait_until(lambda: now() == (3, "v1.pt"))

    def test_a_refused_one_changes_nothing(
        self, tmp_path: Path, open_model: OpenModel, caplog: pytest.LogCaptureFixture
    ) -> None:
        write_version(tmp_path, "v1.pt", 1)
        write_version(tmp_path, "v2.pt", 2, prediction=7)
        point(tmp_path, "v1.pt")
        model = open_model(f"--model_pointer={tmp_path / 'current'}", "--model_refresh_s=0.01", SUM)
        point(tmp_path, "v2.pt")
        wait_until(lambda: "refused" in caplog.text)
        assert "v2.pt" in caplog.text
        assert answers(model, 1)[0][0] == 3

    @pytest.mark.parametrize("content", ["../v1.pt", "/etc/passwd", "gs://elsewhere/v1.pt"])
    def test_nothing_from_outside_the_root(self, tmp_path: Path, open_model: OpenModel, content: str) -> None:
        write_version(tmp_path, "v1.pt", 1)
        (tmp_path / "root").mkdir()
        point(tmp_path, content)
        with pytest.raises(ModelError, match=r"--model_root"):
            open_model(f"--model_pointer={tmp_path / 'current'}", f"--model_root={tmp_path / 'root'}", SUM)

    def test_a_golden_set_elsewhere(self, tmp_path: Path, open_model: OpenModel) -> None:
        (tmp_path / "models").mkdir()
        write_version(tmp_path / "models", "v1.pt", 1)
        golden_set = tmp_path / "models/v1.pt.golden.jsonl"
        golden_set.rename(tmp_path / "secret")
        golden_set.symlink_to(tmp_path / "secret")
        (tmp_path / "models/current").write_text("v1.pt")
        with pytest.raises(ModelError, match=r"golden\.jsonl is a link that leads out of --model_root"):
            open_model(f"--model_pointer={tmp_path / 'models/current'}", SUM)

    def test_the_first_model_has_its_golden_set_too(self, tmp_path: Path, open_model: OpenModel) -> None:
        write_version(tmp_path, "v1.pt", 1)
        (tmp_path / "v1.pt.golden.jsonl").unlink()
        point(tmp_path, "v1.pt")
        with pytest.raises(ModelError, match=r"--model_pointer: .*v1\.pt\.golden\.jsonl is missing"):
            open_model(f"--model_pointer={tmp_path / 'current'}", SUM)


class TestStorage:
    """A failure of the storage refuses no model, and is tried again."""

    @pytest.fixture
    def bucket(self, tmp_path: Path) -> Iterator[str]:
        """memory://bucket with v1.pt and v2.pt, and a pointer to the first."""
        for name, scale in (("v1.pt", 1.0), ("v2.pt", 2.0)):
            write_version(tmp_path, name, scale)
        for file in tmp_path.iterdir():
            OBJECTS[f"memory://bucket/{file.name}"] = file.read_bytes()
        OBJECTS["memory://bucket/current"] = b"v1.pt"
        yield "memory://bucket"
        OBJECTS.clear()

    def test_at_the_start(self, bucket: str, open_model: OpenModel) -> None:
        OBJECTS[f"{bucket}/v1.pt"] = OSError("503")
        with pytest.raises(TransientError, match=rf"--model_path: {bucket}/v1\.pt: .* cannot be read: 503"):
            open_model(f"--model_path={bucket}/v1.pt")

    def test_in_a_swap(self, bucket: str, open_model: OpenModel, caplog: pytest.LogCaptureFixture) -> None:
        model = open_model(f"--model_pointer={bucket}/current", "--model_refresh_s=0.01", SUM)
        second = OBJECTS[f"{bucket}/v2.pt"]
        OBJECTS[f"{bucket}/v2.pt"] = OSError("503")
        OBJECTS[f"{bucket}/current"] = b"v2.pt"
        wait_until(lambda: "cannot be read: 503; going on with v1.pt@" in caplog.text)
        OBJECTS[f"{bucket}/v2.pt"] = second
        wait_until(lambda: answers(model, 1)[0][0] == 6)
        assert "refused" not in caplog.text
        assert caplog.text.count("503") == 1

    @pytest.mark.parametrize(
        ("gone", "reason"),
        [
            ("v2.pt", "--model_pointer: memory://bucket/v2.pt: there is no file"),
            (
                "v2.pt.golden.jsonl",
                "--model_pointer: memory://bucket/v2.pt.golden.jsonl is missing or empty: put there",
            ),
        ],
    )
    def test_what_is_not_there_is_refused(
        self, bucket: str, open_model: OpenModel, caplog: pytest.LogCaptureFixture, gone: str, reason: str
    ) -> None:
        open_model(f"--model_pointer={bucket}/current", "--model_refresh_s=0.01", SUM)
        del OBJECTS[f"{bucket}/{gone}"]
        OBJECTS[f"{bucket}/current"] = b"v2.pt"
        wait_until(lambda: "refused" in caplog.text)
        assert reason in caplog.text


def test_a_wrong_number_of_rows_names_the_model(tmp_path: Path, open_model: OpenModel) -> None:
    """One that passes the check at load and fails later."""
    torch.save(Linear().state_dict(), tmp_path / "m.pt")
    model = open_model(
        f"--model_path={tmp_path / 'm.pt'}", "--model_class=tests.pipeline.models:OneRowTooMany"
    )
    good, bad = model.submit(requests(1, 666))
    assert isinstance(good, Result)
    assert isinstance(bad, DeadLetter)
    assert re.fullmatch(
        r"the model failed \(m\.pt@\w{12}\): the model returned shape \[2\] for 1 requests: .*",
        bad.error_message,
    )


def test_a_process_that_shares_a_gpu_keeps_to_its_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shares: list[int] = []
    # The GPU is there until the limit is set: the model itself is loaded on the CPU.
    devices = iter([torch.device("cuda", 0), torch.device("cpu")])
    monkeypatch.setattr(Compute, "choose_device", lambda _: next(devices))
    monkeypatch.setattr(gpu_memory, "limit_to_share", shares.append)
    monkeypatch.setattr(workers, "cores", lambda: 4)
    write_version(tmp_path, "m.pt", 1)
    options = local_job_options("--input_shape=3", f"--model_path={tmp_path / 'm.pt'}", SUM)
    ProcessModel(options, on_dataflow=True).close()
    assert shares == [4]


def end_of(tmp_path: Path, forward: str, *flags: str) -> subprocess.CompletedProcess[str]:
    """Run a job's handler with this `forward` in a process of its own, as that ends at once."""
    torch.save(Sum().state_dict(), tmp_path / "m.pt")
    script = textwrap.dedent(f"""
        import threading, torch
        from pipeline.process import registry
        from pipeline.request.errors import TransientError
        from pipeline.inference.local.handler import LocalModelHandler
        from tests.pipeline.job_options import local_job_options
        from tests.pipeline.inference.local.test_process_model import requests
        import tests.pipeline.models as models

        class Subscription:
            def close(self):
                print("given back", flush=True)

        handler = LocalModelHandler(
            local_job_options("--input_shape=3", "--model_path={tmp_path / "m.pt"}", "{SUM}", *{flags}),
            on_dataflow=False
        )
        model = handler.load_model()
        registry.shared("subscription", Subscription)
        def forward(self, features):
            {forward}
        models.Sum.forward = forward
        for _ in range(2):
            try:
                handler.run_inference(requests(1), model)
            except TransientError as error:
                print("transient", flush=True)
        print("still here", flush=True)
        threading.Event().wait()  # whatever the bundle's thread does, the process ends
    """)
    return subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )


@pytest.mark.slow
def test_a_lost_device_ends_the_process(tmp_path: Path) -> None:
    """Exit code 3, what is registered closed before."""
    lost = 'raise torch.AcceleratorError("CUDA error: device-side assert triggered")'
    ended = end_of(tmp_path, lost)
    # Closing the model fails the bundle, whose thread goes on to the next one.
    assert (ended.returncode, ended.stdout.splitlines()[0]) == (3, "given back"), ended.stderr
    assert "device-side assert" in ended.stderr


@pytest.mark.slow
def test_calls_that_hang_end_the_process(tmp_path: Path) -> None:
    """The first one is abandoned; the second one takes hope with it."""
    ended = end_of(tmp_path, "threading.Event().wait()", "--inference_timeout_s=0.2")
    assert (ended.returncode, ended.stdout) == (3, "transient\ngiven back\n"), ended.stderr
    assert "take longer than 0.2 s (--inference_timeout_s)" in ended.stderr
    assert "what was not answered comes again" in ended.stderr
