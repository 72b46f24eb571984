"""docs/swapping-models.md: its commands are run, its log lines are those of the code."""

from __future__ import annotations

import json
import logging
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from launch.__main__ import main
from pipeline import metrics
from pipeline.inference.local.process_model import ProcessModel
from pipeline.model import golden
from pipeline.options.job_options import FLAGS
from pipeline.request.errors import ModelError
from pipeline.request.input_spec import InputSpec
from pipeline.request.messages import Result
from pipeline.request.wire_format import decode
from tests.docs.test_launch_docs import ENV
from tests.pipeline.job_options import local_job_options
from tests.waiting import LIMIT_S, wait_until

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/swapping-models.md").read_text()
BLOCKS = dict(re.findall(r"^```\w+ (\S+)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE))
LOG_LINES = re.findall(r"^```\n(\S.*)\n```$", PAGE, re.MULTILINE)
REFUSALS = dict(re.findall(r"^\| `(\S+)` \|.*\| `(--model_pointer.*)` \|$", PAGE, re.MULTILINE))
JOB = dict(re.findall(r"--(\w+)=(\S+)", BLOCKS["job"]))
SPEC = InputSpec.parse(JOB["input_shape"])


def pattern(text: str, folder: Path) -> str:
    """Return what matches a log line of the page: models lie in `folder`, and … stands for anything."""
    return re.escape(text.replace("/models", str(folder))).replace("…", ".*")


@dataclass
class Job:
    """The model of the page's job, in a folder of its own for /models."""

    folder: Path

    def __post_init__(self) -> None:
        self.run("make")
        self.run("v1")
        self.model = self.start()

    def start(self) -> ProcessModel:
        """Return what each process of the job begins with."""
        pointer = str(self.folder.parent / JOB["model_pointer"])
        flags = {**JOB, "model_pointer": pointer, "model_refresh_s": "0.001"}
        return ProcessModel(local_job_options(*(f"--{name}={text}" for name, text in flags.items())), False)

    def run(self, block: str) -> None:
        home = self.folder.parent
        (home / "make_models.py").write_text(BLOCKS["make_models.py"])
        script = BLOCKS[block].replace("python ", f"{shlex.quote(sys.executable)} ")
        subprocess.run(["bash", "-euc", script], cwd=home, check=True, timeout=LIMIT_S)

    def point(self, content: str) -> None:
        (self.folder / "new").write_text(content)
        (self.folder / "new").rename(self.folder / "current")

    def answer(self) -> float:
        (answer,) = self.model.submit([decode(b'{"features": [1, 1, 1]}', {}, SPEC, received=0)])
        assert isinstance(answer, Result)
        return float(answer.prediction[0])


class Counts:
    """What the job has counted: the metrics that the page tells of."""

    def __init__(self) -> None:
        self.swaps = self.refusals = 0

    def add(self, swaps: int, refusals: int) -> None:
        self.swaps += swaps
        self.refusals += refusals


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> Counts:
    counts = Counts()
    monkeypatch.setattr(metrics, "count_models", counts.add)
    return counts


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Job]:
    job = Job(tmp_path_factory.mktemp("home") / "models")
    yield job
    job.model.close()


@pytest.mark.slow
def test_the_example_as_it_is_pasted(tmp_path: Path) -> None:
    (tmp_path / "make_models.py").write_text(BLOCKS["make_models.py"])
    environment = {name: value for name, value in os.environ.items() if name != "PUBSUB_EMULATOR_HOST"}
    environment["PYTHONPATH"] = str(ROOT)

    def command(block: str) -> list[str]:
        python = shlex.quote(sys.executable)
        script = BLOCKS[block].replace("./launch.sh local", f"exec {python} -P -m local")
        return ["bash", "-euc", script.replace("python make", f"{python} make")]

    def paste(block: str) -> str:
        done = subprocess.run(
            command(block), cwd=tmp_path, check=True, timeout=LIMIT_S, stdout=subprocess.PIPE, text=True
        )
        return done.stdout

    paste("make")
    paste("v1")
    job = subprocess.Popen(command("job"), cwd=tmp_path, env=environment, stdout=subprocess.PIPE)
    log, results = tmp_path / "runs/swap/pipeline.log", tmp_path / "runs/swap/results.jsonl"
    try:
        wait_until(lambda: results.is_file() and results.stat().st_size > 0)
        paste("v2")
        wait_until(lambda: log.read_text().count("swapped the model") == 1)
        wait_until(lambda: "v2.pt2@" in results.read_text())
        paste("v1-again")
        wait_until(lambda: log.read_text().count("swapped the model") == 2)
    finally:
        job.send_signal(signal.SIGINT)
        output, _ = job.communicate(timeout=LIMIT_S)
    assert b"all with a result" in output
    counted = [line.split('"')[-1].partition("@")[0] for line in paste("count").splitlines()]
    assert counted == ["v1.pt2", "v2.pt2"]


@pytest.mark.slow
def test_there_and_back(job: Job, counts: Counts, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    assert job.answer() == 3
    job.run("v2")
    wait_until(lambda: job.answer() == 6)
    swapped = next(line for line in LOG_LINES if line.startswith("swapped"))
    wait_until(lambda: re.search(pattern(swapped, job.folder), caplog.text))
    job.run("v1-again")
    wait_until(lambda: job.answer() == 3 and counts.swaps == 2)
    assert counts.refusals == 0


def test_refusals(job: Job, counts: Counts, caplog: pytest.LogCaptureFixture) -> None:
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
        job.point(candidate)
        line = pattern(f"{start} {reason}", job.folder)
        wait_until(lambda line=line: re.search(line, caplog.text))  # type: ignore[misc]
        if candidate == "v6.pt2":
            job.start().close()
        else:
            with pytest.raises(ModelError, match=f"^{pattern(reason, job.folder)}"):
                job.start()
    assert job.answer() == 3
    assert (counts.swaps, counts.refusals) == (0, len(REFUSALS))


@pytest.mark.slow
def test_a_pointer_that_is_gone(job: Job, caplog: pytest.LogCaptureFixture) -> None:
    (job.folder / "current").unlink()
    gone = next(line for line in LOG_LINES if line.startswith("--model_pointer"))
    wait_until(lambda: re.search(pattern(gone, job.folder), caplog.text))
    reason = gone.partition(";")[0]
    with pytest.raises(ModelError, match=f"^{pattern(reason, job.folder)}$"):
        job.start()


def test_the_golden_set_that_is_shown(job: Job) -> None:
    (job.folder / f"v1.pt2{golden.SUFFIX}").write_text(BLOCKS["v1.pt2.golden.jsonl"])
    job.point("v1.pt2")
    job.start().close()


def test_the_launch_on_dataflow(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, *argv = shlex.split(BLOCKS["dataflow"].replace("\\\n", " "))
    cut = argv.index("--")
    dry_run = [*argv[:cut], "--dry-run", *argv[cut:]]
    assert main(dry_run, ENV, tmp_path / "none") == 0
    printed = capsys.readouterr().out
    assert ",model_pointer=gs://my-bucket/models/current," in printed
    assert "model_path" not in printed
    assert main(dry_run, {**ENV, "LAUNCH_MODEL_PATH": "/models/v1.pt2"}, tmp_path / "none") == 2


def test_flags() -> None:
    flags = {flag.name: flag for flag in FLAGS}
    for name, text in JOB.items():
        if name != "runner":
            flags[name].parse(text)
    assert set(re.findall(r"--(model_\w+)", PAGE)) <= set(flags)
