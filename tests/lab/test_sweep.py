"""Sweeps with probes of a made queue in the place of runs, and once with a real job."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import orjson
import pytest
from rich.console import Console

from lab import search as search_module
from lab import sweep as module
from lab.found import Found
from lab.metrics_flags import MetricsFlags
from lab.report import report_command
from lab.sweep import sweep_command
from lab.sweep_flags import parse_sweep
from lab.sweep_table import print_outcomes
from lab.target import Target
from loadtest.driver.system import System
from loadtest.interrupt import Stop
from loadtest.options import RunOptions
from loadtest.search.answer import Boundary
from loadtest.search.outcome import Outcome, pareto
from loadtest.search.probes import Probe
from loadtest.search.sweep_file import Sweep, SweepFileError
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


def test_two_flags_make_every_combination(tmp_path: Path) -> None:
    line, sweep, combinations = parse_sweep(
        [f"--out={tmp_path}", "--sweep=max_batch_size=1,8", "--sweep=max_batch_wait_ms=0,5"]
    )
    assert sweep is not None, line.problems
    assert [each.arguments for each in combinations] == [
        [f"--max_batch_size={size}", f"--max_batch_wait_ms={wait}"] for size in (1, 8) for wait in (0, 5)
    ]


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


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ([], "--sweep is missing"),
        (["--sweep=max_batch_size"], "give a flag of the job and its values"),
        (["--sweep=max_batch_size=1,,2"], "give a flag of the job and its values"),
        (["--sweep=max_batch_size=1,1"], "a value stands there twice"),
        (["--sweep=max_batch_size=1", "--sweep=max_batch_size=2"], "max_batch_size is given twice"),
        (
            ["--sweep=max_batch_size=1", "--sweep=max_batch_wait_ms=1", "--sweep=device=cpu"],
            "3 flags are too many",
        ),
        (["--sweep=max_batch_size=8,0"], "with --max_batch_size=0: --max_batch_size: '0' is not a whole"),
        (["--sweep=max_batch_sise=8"], "did you mean --max_batch_size"),
        (["--sweep=runner=DirectRunner"], "--runner: a local run sets it itself"),
        (["--sweep=max_batch_size=8", "--tier=p99<1s", "--tier=p50<1s"], "a sweep compares for one"),
        (["--sweep=max_batch_size=8", "--probe_s=1"], "--probe_s=1 must be at least 12"),
        (["--resume"], "--out"),
        (["--resume", "--out=/nonexistent"], "sweep.json is missing"),
        (["--swep=max_batch_size=8"], "did you mean --sweep"),
    ],
)
def test_wrong_flags(arguments: list[str], problem: str) -> None:
    line, sweep, _ = parse_sweep(arguments)
    assert sweep is None
    assert any(problem in each for each in line.problems), line.problems


def test_another_job_or_other_values_do_not_go_on(tmp_path: Path) -> None:
    _, sweep, _ = parse_sweep([f"--out={tmp_path}", "--sweep=max_batch_size=1,8"])
    assert sweep is not None
    sweep.write(tmp_path / "sweep.json")
    resumed = [f"--out={tmp_path}", "--resume"]
    assert parse_sweep(resumed)[1] == sweep
    for more, problem in (
        (["--sweep=max_batch_size=1,9"], "is of other values"),
        (["--", "--device=cpu"], "was begun with no flags after --"),
    ):
        line, again, _ = parse_sweep([*resumed, *more])
        assert again is None
        assert any(problem in each for each in line.problems), line.problems


@pytest.mark.parametrize("content", ["{", "[]", '{"version": 2}', '{"version": 1, "values": 3}'])
def test_a_damaged_file_is_told_of(tmp_path: Path, content: str) -> None:
    (tmp_path / "sweep.json").write_text(content)
    with pytest.raises(SweepFileError, match="holds no sweep of this version"):
        Sweep.read(tmp_path / "sweep.json")


ELSEWHERE = ["--project=my-project", "--input_topic=requests", "--output_subscription=results"]


def test_for_a_job_elsewhere_the_commands_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [*ELSEWHERE, "--objective=p99<1s", "--out=runs/x", "--sweep=max_batch_size=8,32"]
    assert sweep_command(arguments) == 0
    told = capsys.readouterr().out
    assert told.startswith("Nothing was measured: ")
    search = (
        "./launch.sh loadtest search --project=my-project --input_topic=requests "
        "--output_subscription=results '--objective=p99<1s'"
    )
    for number, size in ((1, 8), (2, 32)):
        assert f"./launch.sh replace JOB -- --max_batch_size={size}\n" in told
        assert f"{search} --out=runs/x/0{number}\n" in told
    assert sweep_command([*arguments, "--json"]) == 0
    content = orjson.loads(capsys.readouterr().out)
    assert content["measured"] is False
    assert len(content["combinations"]) == 2


@pytest.mark.parametrize(
    ("sweep", "problem"),
    [("max_batch_size=0,8", "--max_batch_size: '0' is not a whole"), ("flagless=1", "is no flag of the job")],
)
def test_what_a_job_elsewhere_would_refuse_is_told_of(
    sweep: str, problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sweep_command([*ELSEWHERE, f"--sweep={sweep}"]) == 2
    assert problem in capsys.readouterr().err


def outcome(size: int, claim: float | None, p99_ms: float | None, cpu_us: float | None) -> Outcome:
    boundary = Boundary(
        claim, claim, None, None, "smooth", claim, None, None, claim is not None, "", "", 9, 540.0
    )
    flags = {"max_batch_size": str(size), "max_batch_wait_ms": "5"}
    interval = None if p99_ms is None else (p99_ms * 0.9, p99_ms * 1.1)
    ended = "" if claim is not None else "the job was killed (SIGKILL)"
    return Outcome(flags, f"{size:02d}", ended, boundary, p99_ms, interval, cpu_us, 3.5)


OUTCOMES = [
    outcome(1, 200.0, 20.0, 4_800.0),
    outcome(8, 1_000.0, 40.0, 1_300.0),
    outcome(32, 900.0, 45.0, 1_300.0),  # no better than the one before in anything
    outcome(64, 800.0, 35.0, None),  # its processor time is not known, but it answers sooner
    outcome(128, None, None, None),
]


def test_the_pareto_set_has_what_none_of_the_others_beats() -> None:
    assert pareto(OUTCOMES) == [True, True, False, True, False]
    assert pareto(OUTCOMES[1:2] * 2) == [True, True]
    assert pareto([]) == []


@pytest.mark.parametrize("width", [60, 120])
def test_the_table_fits_the_terminal(width: int) -> None:
    text = io.StringIO()
    print_outcomes(Console(file=text, width=width), OUTCOMES, "p99<100ms,lost=0")
    lines = text.getvalue().splitlines()
    table = [line for line in lines if line[:1] in "┏┃┡│└"]
    assert max(len(line) for line in table) <= width
    shown = text.getvalue()
    for figure in ("1,000.0", "40.00", "1,300", "3.50"):
        assert figure in shown
    assert "max_batch_size=128" in shown
    assert "the job was killed (SIGKILL)" in shown.replace("\n", " ")


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
