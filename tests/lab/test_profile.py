"""The profile's command: its flags, and once with a real job and a real container."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from lab import calibration
from lab.calibration import Calibration, measure_job
from lab.profile import profile_command
from lab.profile_words import profile_lines
from lab.target import Target
from loadtest.bottleneck.job_flags import limits
from loadtest.driver.system import System
from loadtest.interrupt import Stop
from loadtest.options import RunOptions
from loadtest.profile.job import JobRuns
from loadtest.profile.profile import JobProfile, Profile, read, write
from loadtest.raw_log import RawLog
from loadtest.records import read_records
from loadtest.run_folder import make_private
from local.children import ChildError
from local.job_flags import JobFlags
from local.topics import Topics
from tests.integration.conftest import EXAMPLE
from tests.integration.models import Timed
from tests.loadtest.profile.made_profile import made_profile
from tests.loadtest.profile.test_job import CALL, ROW, bundles
from tests.waiting import LIMIT_S, wait_until

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--seconds=1"], "--seconds=1 must be from 4 to 600"),
        (["--seconds=x"], "--seconds=x must be from 4"),
        (["--input_topic=t", "--project=p", "--output_subscription=s"], "leave it out"),
        (["--", "--max_batch_sise=3"], "max_batch_sise"),
        (["--second=1"], "did you mean --seconds"),
        (["--", "--inference_mode=endpoint", "--max_batch_size=1"], "--max_batch_size=1: so the container"),
        (["--endpoint_url=http://h/p", "--rate=5"], "--rate: has no part in a profile"),
        (["--endpoint_url=http://h/p", "--budget", "5"], "--budget: has no part in a profile"),
        (["--endpoint_url=http://h/p", "--", "--device=cpu"], "flags after -- are for a container"),
    ],
)
def test_wrong_flags(arguments: list[str], problem: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert profile_command(arguments) == 2
    assert problem in capsys.readouterr().err


def test_a_profile_in_words() -> None:
    lines = list(profile_lines(made_profile()))
    assert lines[0] == "measured on made, 2 cores, 2026-01-31T12:00:00+00:00"
    assert lines[1] == (
        "job: a call of the model takes 0.5 (0.45 to 0.55) ms + 0.01 ms a request (1 to 32; furthest off +0%)"
        "; the part of each request cannot be told from 0"
    )
    assert "  rest: too few calls" in lines


class Made:
    """Stands in for jobs that start, and for their runs; each leaves the log of a made thread.

    Attributes:
        started: The flags of each job.
        folders: Of each run.
        interrupted_at: Number of the run that a signal ends.
        refused: Flags of which the job does not start.
        unanswered: Batch size of which no answer comes out of a backlog.
    """

    def __init__(self) -> None:
        self.started: list[str] = []
        self.folders: list[str] = []
        self.interrupted_at = 0
        self.refused = "none"
        self.unanswered = 0
        self._largest = 16

    @contextmanager
    def job(
        self, options: RunOptions, flags: JobFlags, folder: Path, stop: Stop, console: Console
    ) -> Iterator[Target]:
        self.started.append(flags.text)
        if self.refused in flags.text:
            stop.end("the job refused its flags")
            raise ChildError("the job refused its flags; the end of its log:\nno such size", 2)
        self._largest = limits(flags.text).batch
        yield Target(options, System({"kind": "local job"}, lambda: {"job": os.getpid()}), warm_up_s=10.0)

    def run(self, options: RunOptions, *, stop: Stop, **others: object) -> None:
        self.folders.append(str(options.out))
        make_private(options.out)
        if len(self.folders) == self.interrupted_at:
            os.kill(os.getpid(), signal.SIGINT)
            return
        # The third rate is more than it carries.
        backlog = options.out.parent.name == "sizes"
        size = self._largest if backlog else {50.0: 1, 150.0: 2}.get(options.rate, self._largest)
        log = bundles(size, 300, 0.0 if backlog else size / options.rate)
        if backlog and size == self.unanswered:
            log.messages.batch_size[:] = np.nan
        kept_up = backlog or options.rate < 400
        facts = log.facts if kept_up else replace(log.facts, duration=log.facts.duration / 10)
        RawLog(facts, log.messages, log.series, log.samples).write(options.out)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Made:
    made = Made()
    monkeypatch.setattr(calibration, "started", made.job)
    monkeypatch.setattr(calibration, "run", made.run)
    monkeypatch.setattr(calibration, "_IDLE_S", 0.01)
    return made


def test_each_size_has_a_job_of_its_own(made: Made, tmp_path: Path) -> None:
    assert profile_command([f"--out={tmp_path}", "--quiet", "--", "--max_batch_size=16"]) == 0
    own = "--max_batch_size=16"
    assert made.started == [own, *(f"{own} --max_batch_size={size}" for size in (1, 4, 8, 2))]
    job = read(tmp_path / "profile.json").job
    assert job is not None
    assert [point.size for point in job.service.points] == [1.0, 2.0, 4.0, 8.0, 16.0]
    assert (job.service.a.value, job.service.b.value) == pytest.approx((CALL, ROW), rel=0.1)
    assert [level.kept_up for level in job.levels] == [True, True, False]


def test_a_size_whose_job_does_not_start_is_left_out(made: Made, tmp_path: Path) -> None:
    made.refused = "--max_batch_size=1"
    assert profile_command([f"--out={tmp_path}", "--quiet", "--", "--max_batch_size=4"]) == 0
    profile = read(tmp_path / "profile.json")
    assert profile.partial is None
    assert profile.job is not None
    assert profile.job.notes["service"] == "of batches of 1 there is nothing: the job refused its flags"
    assert [point.size for point in profile.job.service.points] == [2.0, 3.0, 4.0]


def test_a_size_without_an_answer_is_told(made: Made, tmp_path: Path) -> None:
    made.unanswered = 1
    assert profile_command([f"--out={tmp_path}", "--quiet", "--", "--max_batch_size=4"]) == 0
    job = read(tmp_path / "profile.json").job
    assert job is not None
    assert job.notes["service"] == (
        "of batches of 1 there is nothing: no bundle with them was answered in the 4 s: give more --seconds"
    )
    assert [point.size for point in job.service.points] == [2.0, 3.0, 4.0]


def test_a_size_that_the_container_refuses_has_no_job(made: Made, tmp_path: Path) -> None:
    flags = JobFlags(["--inference_mode=endpoint", "--endpoint_batch_size=16"], default_model="model.pt2")
    options = Topics.fresh("made").run_options(1.0, 1.0, read_records(EXAMPLE / "records.jsonl"), tmp_path)
    runs = JobRuns()
    measure_job(Calibration(options, flags, 8.0, tmp_path, Console(quiet=True), most=4), runs, Stop())
    own, *others = made.started
    assert own == flags.text
    assert sorted(limits(text).batch for text in others) == [1, 2, 3, 4]
    assert runs.left_out.startswith("8, 16 are left out: the container takes at most 4 ")


# Of 4 + 2 x 4 runs, the warm-up among them: in the third rate, and in a job with another size.
@pytest.mark.parametrize(("number", "levels", "sizes"), [(4, 2, 0), (10, 3, 3)])
def test_an_interrupted_profile_is_partial(
    number: int, levels: int, sizes: int, made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made.interrupted_at = number
    assert profile_command([f"--out={tmp_path}", "--quiet", "--", "--max_batch_size=16"]) == 1
    assert len(made.folders) == number  # nothing was sent afterwards
    profile = read(tmp_path / "profile.json")
    assert profile.partial == "interrupted (SIGINT)"
    assert profile.job is not None
    assert len(profile.job.levels) == levels
    assert len(profile.job.service.points) == (sizes or 2)
    assert ("service" in profile.job.notes) == (sizes == 0)
    told = capsys.readouterr()
    assert "partial: interrupted (SIGINT)" in told.out
    assert "loadtest: partial: interrupted (SIGINT)" in told.err


def test_an_interrupt_before_there_is_a_law_leaves_an_earlier_profile(
    made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "profile.json", made_profile())
    made.interrupted_at = 2
    assert profile_command([f"--out={tmp_path}", "--quiet"]) == 1
    assert read(tmp_path / "profile.json") == made_profile()
    assert (
        "interrupted (SIGINT) before anything could be fitted: no profile was written"
        in capsys.readouterr().err
    )


def real_profile(folder: Path, seconds: int, *flags: str) -> Profile:
    """Return the profile of a job whose model is `Timed`, so that it is soon overloaded.

    A backlog is watched for half of `seconds`. A bundle of it, up to 500 calls of one request, is answered at
    its end, which must come by then.
    """
    model = folder / "timed.pt"
    torch.save(Timed().state_dict(), model)
    done = subprocess.run(
        [
            *(
                sys.executable,
                "-m",
                "lab",
                "profile",
                f"--out={folder / 'out'}",
                f"--seconds={seconds}",
                "--",
            ),
            *(f"--model_path={model}", "--model_class=tests.integration.models:Timed", "--input_shape=3"),
            *flags,
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=8 * LIMIT_S,
    )
    assert done.returncode == 0, done.stderr
    return read(folder / "out" / "profile.json")


def check_job(job: JobProfile, mode: str) -> None:
    assert job.mode == mode
    assert [level.offered for level in job.levels] == sorted(level.offered for level in job.levels)
    assert not job.levels[-1].kept_up
    assert (job.decode is None) == (mode == "endpoint")
    assert {"job", "broker", "driver"} <= job.levels[0].processor_ms.keys()


@pytest.mark.slow
def test_the_law_of_a_known_model_is_found(tmp_path: Path) -> None:
    profile = real_profile(tmp_path, 6, "--max_batch_size=16")
    assert profile.endpoint is None
    assert profile.job is not None
    check_job(profile.job, "local")
    law = profile.job.service
    assert [point.size for point in law.points] == [1.0, 2.0, 4.0, 8.0, 16.0]
    assert (law.a.value, law.b.value) == pytest.approx((Timed.A_MS, Timed.B_MS), rel=0.2)
    assert law.not_told == []
    assert "service" not in profile.job.notes


@pytest.mark.slow
def test_a_real_endpoint_and_the_job_that_calls_it(tmp_path: Path) -> None:
    """Of both, more rows are asked for than the container takes."""
    sizes = ("--max_batch_size=2", "--endpoint_batch_size=4")
    profile = real_profile(tmp_path, 4, "--inference_mode=endpoint", '--model_params={"a_ms": 0.0}', *sizes)
    job, endpoint = profile.job, profile.endpoint
    assert job is not None
    check_job(job, "endpoint")
    assert 1 <= job.service.smallest < job.service.largest <= 2
    assert "batches of 3, 4 are left out: the container takes at most 2 " in job.notes["service"]
    assert endpoint is not None
    assert [point.size for point in endpoint.service.points] == [1.0, 2.0]
    assert endpoint.notes["service"].startswith("calls of 4, 16, 64 are left out: the container takes ")
    assert endpoint.processor is not None
    assert {one.at_once for one in endpoint.at_once} == {1, 2, 4, 8, 16}


@pytest.mark.slow
def test_an_interrupt_of_a_real_profile(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "lab", "profile", f"--out={tmp_path}", "--seconds=4"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        wait_until(lambda: (tmp_path / "levels" / "3" / "run.json").is_file())
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=LIMIT_S)
    finally:
        process.kill()
    assert process.returncode == 1
    assert "partial: interrupted (SIGINT)\n" in out
    assert "loadtest: partial: interrupted (SIGINT)" in err
    profile = read(tmp_path / "profile.json")
    assert profile.partial == "interrupted (SIGINT)"
    assert profile.job is not None
    assert 2 <= len(profile.job.levels) <= 3
    assert "set by the rates" in profile.job.notes["service"]
