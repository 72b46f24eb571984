"""docs/swapping-models.md: its commands are run, its log lines are those of the code."""

import json
import logging
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from pipeline.flags import FLAGS
from pipeline.inference import files, golden
from pipeline.inference import model as models
from pipeline.inference.model import Model
from pipeline.inference.swap import CurrentModel, ModelPointer, Refresher
from pipeline.input_spec import InputSpec
from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/swapping-models.md").read_text()
BLOCKS = dict(re.findall(r"^```\w+ (\S+)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE))
LOG_LINES = re.findall(r"^```\n(\S.*)\n```$", PAGE, re.MULTILINE)
REFUSALS = dict(re.findall(r"^\| `(\S+)` \|.*\| `(--model_pointer.*)` \|$", PAGE, re.MULTILINE))
JOB = dict(re.findall(r"--(\w+)=(\S+)", BLOCKS["job"]))
SPEC = InputSpec.parse(JOB["input_shape"])


def pattern(text: str, folder: Path) -> str:
    """What matches a log line of the page, where models lie in `folder` and … stands for whatever."""
    return re.escape(text.replace("/models", str(folder))).replace("…", ".*")


@dataclass
class Job:
    """What the page's job does with its pointer, in a folder of its own for /models."""

    folder: Path

    def __post_init__(self) -> None:
        self.folder.mkdir()
        self.run("make")
        self.run("v1")
        pointer = ModelPointer(self.local(JOB["model_pointer"]))
        path = pointer.path()
        self.current = CurrentModel(self.load(path), path)
        self.refresher = Refresher(self.current, pointer, self.load, 0.001)

    def local(self, text: str) -> str:
        return text.replace("/models", str(self.folder))

    def run(self, block: str) -> None:
        home = self.folder.parent
        (home / "make_models.py").write_text(BLOCKS["make_models.py"])
        script = self.local(BLOCKS[block]).replace("python ", f"{shlex.quote(sys.executable)} ")
        subprocess.run(["bash", "-euc", script], cwd=home, check=True, timeout=100)

    def load(self, path: str) -> Model:
        called = f"--model_pointer: {path}"
        model = models.load(str(files.fetch(path, self.folder)), SPEC, max_batch_size=8, called=called)
        golden_file = files.fetch(path + golden.SUFFIX, self.folder)
        golden.check(model, golden_file, SPEC, "fp32", max_batch_size=8, called=called)
        return model

    def answer(self) -> float:
        (prediction,) = self.current.model.predict([SPEC.from_json({"features": [1, 1, 1]})])
        return float(prediction[0])


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Job]:
    job = Job(tmp_path_factory.mktemp("home") / "models")
    job.refresher.start()
    yield job
    job.refresher.close()


def test_there_and_back(job: Job, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    assert job.answer() == 3
    job.run("v2")
    wait_until(lambda: job.answer() == 6)
    swapped = next(line for line in LOG_LINES if line.startswith("swapped"))
    wait_until(lambda: re.search(pattern(swapped, job.folder), caplog.text))
    job.run("v1-again")
    wait_until(lambda: job.answer() == 3)
    assert job.current.take_counts() == (2, 0)


def test_refusals(job: Job, caplog: pytest.LogCaptureFixture) -> None:
    shutil.copy(job.folder / "v2.pt2", job.folder / "v4.pt2")
    shutil.copy(job.folder / "v2.pt2", job.folder / "v5.pt2")
    shutil.copy(job.folder / f"v1.pt2{golden.SUFFIX}", job.folder / f"v5.pt2{golden.SUFFIX}")
    shapes = ({0: torch.export.Dim("batch")},)
    program = torch.export.export(torch.nn.Linear(3, 2), (torch.zeros(2, 3),), dynamic_shapes=shapes)
    torch.export.save(program, job.folder / "v6.pt2")
    (job.folder / f"v6.pt2{golden.SUFFIX}").write_text(json.dumps({"features": [1, 2, 3]}))

    assert list(REFUSALS) == ["v3.pt2", "v4.pt2", "v5.pt2", "v6.pt2", "../v7.pt2"]
    (start,) = re.findall(r"`(refused .*:)`", PAGE)
    for candidate, reason in REFUSALS.items():
        (job.folder / "new").write_text(candidate)
        (job.folder / "new").rename(job.folder / "current")
        line = pattern(f"{start} {reason}", job.folder)
        wait_until(lambda line=line: re.search(line, caplog.text))  # type: ignore[misc]
    assert job.current.take_counts() == (0, len(REFUSALS))
    assert job.answer() == 3


def test_a_pointer_that_is_gone(job: Job, caplog: pytest.LogCaptureFixture) -> None:
    (job.folder / "current").unlink()
    gone = next(line for line in LOG_LINES if line.startswith("--model_pointer"))
    wait_until(lambda: re.search(pattern(gone, job.folder), caplog.text))


def test_the_golden_set_that_is_shown(job: Job, tmp_path: Path) -> None:
    (tmp_path / "shown").write_text(BLOCKS["v1.pt2.golden.jsonl"])
    golden.check(job.load(str(job.folder / "v1.pt2")), tmp_path / "shown", SPEC, "fp32")


def test_flags() -> None:
    flags = {flag.name: flag for flag in FLAGS}
    for name, text in JOB.items():
        if name != "runner":
            flags[name].parse(text)
    assert set(re.findall(r"--(model_\w+)", PAGE)) <= set(flags)
