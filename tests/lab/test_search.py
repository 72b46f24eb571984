"""The search with probes of a made queue in the place of runs, and once with a real job."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from lab import search as module
from lab.found import Found, limit_of
from lab.probing import Probed, ProbeInterruptedError
from lab.report import report_command
from lab.search import find
from lab.search_command import finish, parse_search
from lab.target import Target
from loadtest.analysis.analyse import analyse
from loadtest.analysis.settings import Settings, keep
from loadtest.bottleneck.job_flags import limits
from loadtest.driver.system import System
from loadtest.interrupt import Stop
from loadtest.search.probes import Probe
from loadtest.search.search_file import resume
from loadtest.search.tiers import TiersSearch
from tests.loadtest.made_log import Load, made_log
from tests.loadtest.made_log import System as MadeSystem
from tests.waiting import LIMIT_S

ROOT = Path(__file__).parents[2]
FLAGS = ["--objective=p99<100ms", "--start=50", "--probe_s=40", "--probe_max_s=80"]


def begun(out: Path, *more: str) -> TiersSearch:
    line, search, _ = parse_search([*FLAGS, f"--out={out}", *more])
    assert search is not None, line.problems
    return search


def target(out: Path) -> Target:
    line, _, _ = parse_search([*FLAGS, f"--out={out}"])
    return Target(line.options, System(), warm_up_s=10.0)


class Queue:
    """Makes the raw log of each probe out of a queue that serves 4 messages in 6 ms, 667 a second.

    With --max_batch_size=n among the job's flags it serves n messages in 4 + n / 2 ms.

    Attributes:
        slower: How many times as long it takes.
        late_from: Rates from this one up the driver cannot send in time.
        ends_at: Number of the probe that is interrupted.
    """

    def __init__(self) -> None:
        self.slower = 1.0
        self.late_from = float("inf")
        self.ends_at = 0
        self.made: list[Probe] = []

    def __call__(
        self,
        target: Target,
        probe: Probe,
        tightest_s: float | None,
        folder: Path,
        display: object,
        stop: Stop,
    ) -> Probed:
        self.made.append(probe)
        if len(self.made) == self.ends_at:
            raise ProbeInterruptedError("interrupted (SIGINT)")
        late_s = 0.05 if probe.rate >= self.late_from else 0.0001
        seconds = target.warm_up_s + probe.seconds
        load = Load(probe.rate, seconds, "poisson", probe.seed, late_s)
        flags = target.system.facts.get("flags", "")
        most = limits(flags).batch if flags else 4
        log = made_log(load, MadeSystem(0.004 * self.slower, 0.0005 * self.slower, most))
        folder.mkdir(parents=True, exist_ok=True)
        log.write(folder)
        settings = Settings(tightest_objective_s=tightest_s, warm_up_floor_s=target.warm_up_s)
        keep(settings, folder)
        return Probed(folder, log, analyse(log, settings))


@pytest.fixture
def queue(monkeypatch: pytest.MonkeyPatch) -> Queue:
    made = Queue()
    monkeypatch.setattr(module, "make_probe", made)
    return made


CAPACITY = 4 / 0.006


def test_the_limit_of_a_queue_is_found_and_told(
    queue: Queue, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    search = begun(tmp_path)
    found = find(search, target(tmp_path), tmp_path, 0.0, Stop(), None)
    (boundary,) = search.boundaries()
    assert boundary.claim is not None
    assert 0.85 * CAPACITY < boundary.claim < CAPACITY
    assert found.complete
    finish(found, tmp_path, None, json=False)
    told = capsys.readouterr().out
    assert f"p99<100ms: {boundary.claim:,.6g} messages/s are sustained; " in told
    assert "what limits it at " in told
    page = (tmp_path / "report.html").read_bytes()
    for shown in (b"<h2>What limits it at ", b"/s, confirmed</", b"/s, fails</"):
        assert shown in page
    assert report_command([str(tmp_path)]) == 0
    assert (tmp_path / "report.html").read_bytes() == page
    again = capsys.readouterr().out
    limit = told.split("what limits it at ")[1].splitlines()[0]
    assert f"what limits it at {limit}" in again
    written = orjson.loads((tmp_path / "search.json").read_bytes())
    assert len(written["probes"]) == len(queue.made) == boundary.probes


def test_the_answer_is_held_afterwards(queue: Queue, tmp_path: Path) -> None:
    search = begun(tmp_path)
    found = find(search, target(tmp_path), tmp_path, 30.0, Stop(), None)
    assert found.held is not None
    assert set(Found.read(tmp_path).searched().runs) == {*found.searched().runs}
    assert "held" in found.searched().runs
    assert (queue.made[-1].rate, queue.made[-1].seconds) == (search.boundaries()[0].claim, 30.0)


def test_an_interrupted_search_goes_on_from_its_file(queue: Queue, tmp_path: Path) -> None:
    whole = begun(tmp_path)
    find(whole, target(tmp_path), tmp_path, 0.0, Stop(), None)
    asked, queue.made, queue.ends_at = queue.made, [], 4
    search = begun(tmp_path)
    found = find(search, target(tmp_path), tmp_path, 0.0, Stop(), None)
    assert (found.ended, found.complete) == ("interrupted (SIGINT)", False)
    queue.ends_at = 0
    line, again, _ = parse_search([f"--out={tmp_path}", "--resume"])
    assert again is not None, line.problems
    found = find(again, target(tmp_path), tmp_path, 0.0, Stop(), None)
    assert queue.made[:3] + queue.made[4:] == asked
    # The runs of the first process are among those that the second tells of.
    assert set(found.probed) == set(range(1, len(asked) + 1))
    assert resume(tmp_path / "search.json").boundaries() == whole.boundaries()


def test_what_the_driver_cannot_send_is_no_answer(queue: Queue, tmp_path: Path) -> None:
    """The search settles for the largest rate that passes, says that the driver is the limit, and fails."""
    queue.late_from = 300.0
    search = begun(tmp_path)
    found = find(search, target(tmp_path), tmp_path, 0.0, Stop(), None)
    (boundary,) = search.boundaries()
    assert boundary.claim is not None
    assert 300 / 1.1 < boundary.claim < 300
    assert "the driver cannot send 3" in boundary.convergence_reason
    assert "the system may carry more" in boundary.convergence_reason
    assert not found.complete
    assert all(probe.rate < 300 for probe, seen in search.history if seen)
    assert resume(tmp_path / "search.json").boundaries() == search.boundaries()


def test_too_few_messages_for_an_objective_end_it(queue: Queue, tmp_path: Path) -> None:
    search = begun(tmp_path, "--objective=p99.9<1s", "--start=20")
    found = find(search, target(tmp_path), tmp_path, 0.0, Stop(), None)
    assert "are too few for p99.9: raise --probe_s" in found.ended


def test_what_an_earlier_search_held_is_not_shown(queue: Queue, tmp_path: Path) -> None:
    queue.ends_at = 2
    find(begun(tmp_path), target(tmp_path), tmp_path, 0.0, Stop(), None)
    log = made_log(Load(50, 40))
    (tmp_path / "hold").mkdir()
    for later_s, shown in ((-60, False), (60, True)):
        facts = replace(log.facts, started=log.facts.started + later_s)
        replace(log, facts=facts).write(tmp_path / "hold")
        assert (Found.read(tmp_path).held is not None) == shown


def test_no_failure_no_limit(queue: Queue, tmp_path: Path) -> None:
    queue.ends_at = 2
    found = find(begun(tmp_path), target(tmp_path), tmp_path, 0.0, Stop(), None)
    assert limit_of(found) is None


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--objective=p99"], "is no objective"),
        (["--probe_s=5"], "--probe_s=5 must be at least 12"),
        (["--start=0"], "--start=0 must be a number above 0"),
        (["--budget=x"], "--budget=x must be a number above 0"),
        (["--resume"], "give the folder that is to go on by --out"),
        (["--input_topic=t", "--project=p", "--", "--max_batch_size=3"], "flags after -- are for a job"),
        (["--", "--max_batch_sise=3"], "max_batch_sise"),
        (["--probe"], "did you mean --probe_s"),
    ],
)
def test_wrong_flags(arguments: list[str], problem: str) -> None:
    line, search, _ = parse_search(arguments)
    assert search is None
    assert any(problem in each for each in line.problems), line.problems


@pytest.mark.slow
def test_a_real_job(tmp_path: Path) -> None:
    """One probe fits into the budget: the search ends early, and leaves file, raw log and page."""
    command = [sys.executable, "-m", "lab", "search", f"--out={tmp_path}", "--start=50", "--probe_s=12"]
    run = subprocess.run(
        [*command, "--budget=4", "--tier=p50<1s,lost=0"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=3 * LIMIT_S,
    )
    assert run.returncode == 1, run.stderr
    assert "probe 1: 50/s for 3 s after 10 s of warm-up" in run.stderr
    assert "p50<1s,lost=0: passed (" in run.stderr
    assert "raise --budget" in run.stdout
    written = orjson.loads((tmp_path / "search.json").read_bytes())
    assert [entry["probe"]["rate"] for entry in written["probes"]] == [50.0]
    assert {path.name for path in (tmp_path / "probes" / "01").iterdir()} >= {"run.json", "messages.npz"}
    assert (tmp_path / "report.html").is_file()
