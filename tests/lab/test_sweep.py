"""Sweeps with probes of a made queue in the place of runs, and once with a real job."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import pytest
from rich.console import Console

from lab import search as search_module
from lab import sweep as module
from lab.found import Found
from lab.metrics_flags import MetricsFlags
from lab.report import report_command
from lab.sweep import sweep_command
from lab.target import Target
from loadtest.driver.system import System
from loadtest.interrupt import Stop
from loadtest.options import RunOptions
from loadtest.search.probes import Probe
from loadtest.search.sweep_file import Sweep
from loadtest.search.tiers import TiersSearch
from local.children import ChildError
from local.job_flags import JobFlags
from tests.lab.test_search import Queue
from tests.waiting import LIMIT_S

ROOT = Path(__file__).parents[2]
FLAGS = ["--objective=p99<1s", "--start=10", "--probe_s=12", "--probe_max_s=100", "--quiet"]
A_FEW_PROBES = "--budget=200"
# Messages a second of the queue, ten times as slow as by default: n messages in 40 + 5 n ms.
SLOWER = 10.0
CAPACITY = {"1": 1 / 0.045, "4": 4 / 0.06}


class Jobs:
    """Stands in for jobs that start.

    Attributes:
        started: The flags of each.
        fails: Flags of which the job ends by itself.
    """

    def __init__(self) -> None:
        self.started: list[str] = []
        self.fails = "none"

    @contextmanager
    def __call__(
        self, options: RunOptions, flags: JobFlags, folder: Path, stop: Stop, *told: object
    ) -> Iterator[Target]:
        self.started.append(flags.text)
        if self.fails in flags.text:
            stop.end("the job refused its flags")
            raise ChildError("the job refused its flags; the end of its log:\nfirst\nno such model", 2)
        yield Target(options, System({"kind": "local job", "flags": flags.text}), warm_up_s=10.0)


def slow_queue() -> Queue:
    made = Queue()
    made.slower = SLOWER
    return made


@pytest.fixture
def queue(monkeypatch: pytest.MonkeyPatch) -> Queue:
    made = slow_queue()
    monkeypatch.setattr(search_module, "make_probe", made)
    return made


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> Jobs:
    made = Jobs()
    monkeypatch.setattr(search_module, "started", made)
    return made


def swept(out: Path, *more: str) -> int:
    return sweep_command([*FLAGS, f"--out={out}", *more])


@dataclass(frozen=True)
class Whole:
    """A sweep that came to its end: where it is, what was started, asked for and printed."""

    out: Path
    started: list[str]
    asked: list[Probe]
    told: str


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    out, queue, jobs, told = tmp_path_factory.mktemp("whole"), slow_queue(), Jobs(), io.StringIO()
    with pytest.MonkeyPatch.context() as patched, redirect_stdout(told):
        patched.setattr(search_module, "make_probe", queue)
        patched.setattr(search_module, "started", jobs)
        assert swept(out, "--sweep=max-batch-size=1,4", "--", "--device=cpu") == 0
    return Whole(out, jobs.started, queue.made, told.getvalue())


@pytest.mark.slow
def test_each_value_is_searched_with_the_same_loads_and_compared(whole: Whole) -> None:
    assert whole.started == [f"--device=cpu --max_batch_size={size}" for size in (1, 4)]
    assert len({probe.seed for probe in whole.asked if probe.rate == 10.0}) == 1
    outcomes = Sweep.read(whole.out / "sweep.json").outcomes
    for outcome, (size, capacity) in zip(outcomes, CAPACITY.items(), strict=True):
        assert outcome.flags == {"max_batch_size": size}
        claim = outcome.boundary.claim
        assert claim is not None
        assert 0.7 * capacity < claim < capacity
        assert outcome.p99_ms is not None
        assert outcome.p99_ms < 1_000
        assert outcome.batch_size is not None
        assert 1 <= outcome.batch_size <= int(size)
        # What the made job uses: 4 ms a call and 0.8 ms a message.
        assert outcome.cpu_us == pytest.approx(4_000 / outcome.batch_size + 800, rel=0.05)
    assert "max_batch_size=4 sustains the most: " in whole.told
    page = (whole.out / "report.html").read_text()
    assert page.index("sweep of max_batch_size") < page.index("search for p99")
    assert page.count("Path of the search") >= 2


def test_a_value_whose_job_does_not_start_is_told_of_and_the_others_go_on(
    queue: Queue, jobs: Jobs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    jobs.fails = "size=1"
    assert swept(tmp_path, "--sweep=max_batch_size=1,4", A_FEW_PROBES) == 1
    failed, found = Sweep.read(tmp_path / "sweep.json").outcomes
    assert failed.ended == "the job refused its flags; the end of its log: no such model"
    assert failed.boundary.probes == 0
    assert found.ended == ""
    assert found.boundary.probes > 0
    assert "max_batch_size=1: the job refused its flags; the end" in capsys.readouterr().out
    assert "no such model" in (tmp_path / "report.html").read_text()


@pytest.mark.slow
def test_an_interrupted_sweep_goes_on_from_its_file(
    whole: Whole, queue: Queue, jobs: Jobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = Sweep.read(whole.out / "sweep.json").outcomes
    queue.ends_at = first.boundary.probes + 3  # of the second value
    of_job = ("--", "--device=cpu")
    with monkeypatch.context() as patched:
        patched.setattr(module, "search_job", signalled)
        assert swept(tmp_path, "--sweep=max_batch_size=1,4", *of_job) == 1
    assert [each.ended for each in Sweep.read(tmp_path / "sweep.json").outcomes] == [
        "",
        "interrupted (SIGINT)",
    ]
    made, queue.made, queue.ends_at, jobs.started = queue.made, [], 0, []
    assert swept(tmp_path, "--resume", *of_job) == 0
    assert jobs.started == ["--device=cpu --max_batch_size=4"]
    assert made[:-1] + queue.made == whole.asked
    assert (tmp_path / "sweep.json").read_bytes() == (whole.out / "sweep.json").read_bytes()


def signalled(
    options: RunOptions,
    flags: JobFlags | None,
    search: TiersSearch,
    out: Path,
    stop: Stop,
    console: Console | None,
    metrics: MetricsFlags,
) -> Found:
    """Search as ever; a probe that is interrupted has been so by a signal."""
    found = search_module.search_job(options, flags, search, out, stop, console, metrics)
    stop.by_signal = bool(found.ended)
    return found


@pytest.mark.slow
def test_the_folder_of_a_sweep_makes_a_page(
    whole: Whole, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert report_command([str(whole.out), f"--out={tmp_path / 'page.html'}"]) == 0
    assert "sweep of max_batch_size: found" in capsys.readouterr().out
    page = (tmp_path / "page.html").read_text()
    assert page == (whole.out / "report.html").read_text()
    assert "max_batch_size=4 sustains the most" in page
    assert "p99 by sustained rate" in page


@pytest.mark.slow
def test_a_real_job(tmp_path: Path) -> None:
    """One probe fits into the budget of the first value; the model of the second is none."""
    broken = tmp_path / "broken.pt2"
    broken.write_text("no model")
    run = subprocess.run(
        [
            *(sys.executable, "-m", "lab", "sweep", f"--out={tmp_path}", "--start=50", "--probe_s=12"),
            *("--budget=4", "--tier=p50<1s", f"--sweep=model_path={MODEL},{broken}", "--input", str(INPUT)),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=4 * LIMIT_S,
    )
    assert run.returncode == 1, run.stderr
    assert "(2 of 2)" in run.stderr
    begun, failed = Sweep.read(tmp_path / "sweep.json").outcomes
    assert (begun.boundary.probes, begun.ended) == (1, "")
    assert "the job refused its flags, its model or a hook (exit code 2)" in failed.ended
    assert f"model_path={broken}: the job refused its flags" in run.stdout.replace("\n", " ")
    assert (tmp_path / "01" / "probes" / "01" / "messages.npz").is_file()
    assert (tmp_path / "report.html").is_file()


MODEL = ROOT / "examples" / "breast_cancer" / "model.pt2"
INPUT = ROOT / "examples" / "breast_cancer" / "records.jsonl"
