"""One schedule with made logs in the place of runs, and once with a real job."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson
import pytest

from lab import run as module
from lab.run import parse_run, run_command
from lab.target import Target
from loadtest.driver.system import System
from loadtest.options import RunOptions
from local.children import ChildError
from tests.lab.made_runs import ELSEWHERE, Driver, command, made_again
from tests.waiting import LIMIT_S, wait_until

ROOT = Path(__file__).parents[2]


def test_the_verdict_what_limits_and_the_files(
    driver: Driver, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(tmp_path) == 0
    told = capsys.readouterr().out
    for expected in (
        "sustained\n", "It carried 200 messages a second", "The driver kept the schedule: 100.00 %",
        "Latency from when it was due (corrected): p50", "Latency from when it was sent (uncorrected): p50",
        "Little's law holds", "what limits it: none", "The backlog was steady",
    ):  # fmt: skip
        assert expected in told, expected
    page, report = (
        (tmp_path / "report.html").read_text(),
        orjson.loads((tmp_path / "report.json").read_bytes()),
    )
    assert "What limits it: none" in page
    assert report["bottleneck"]["limit"] == "none"
    assert report["bottleneck"]["because"][0]["bound"] is not None
    made_again(tmp_path, "report.json")


def test_with_json_the_report_is_all_that_is_printed(
    driver: Driver, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(tmp_path, "--json") == 0
    printed = capsys.readouterr()
    assert printed.out.encode() == (tmp_path / "report.json").read_bytes()
    assert not printed.err


def test_each_failure_has_its_tick_or_cross(
    driver: Driver, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(tmp_path, "--fail-if", "p99>50ms", "--fail-if=lost>0") == 0
    told = capsys.readouterr().out
    assert "✓ p99>50ms: p99 " in told
    assert "✓ lost>0: lost 0 of 8,000 (0 %)" in told
    assert command(tmp_path, "--fail-if=p50>5ms", "--fail-if=lost>0") == 1
    told = capsys.readouterr().out
    assert "✗ p50>5ms: p50 " in told
    assert "✓ lost>0" in told


def test_a_figure_that_is_not_known_is_a_failure(
    driver: Driver, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(tmp_path, "--rate=30", "--fail-if=p99.9>1s") == 1
    assert "✗ p99.9>1s: p99.9 is not known: needs 6,636 samples" in capsys.readouterr().out


def test_an_objective_is_told_of_and_decides_nothing(
    driver: Driver, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(tmp_path, "--objective=p50<5ms") == 0
    assert "✗ p50<5ms: p50 " in capsys.readouterr().out


def test_a_run_that_its_driver_limited_is_invalid(
    driver: Driver, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    driver.late_s = 0.003
    assert command(tmp_path, "--fail-if=lost>0") == 1
    told = capsys.readouterr()
    assert "INVALID" in told.out
    assert "✗ lost>0: the run is INVALID" in told.out
    assert "what limits it: none" not in told.out
    assert "loadtest: INVALID: The driver, not the system, limited this run" in told.err


@pytest.mark.parametrize(
    ("flag", "late_s", "code"),
    [("--objective=p99<250ms", 0.003, 0), ("--objective=p50<4ms", 0.0003, 1), ("--fail-if=p50>4s", 0.003, 0)],
)
def test_the_tightest_latency_bounds_the_schedule_error(
    flag: str, late_s: float, code: int, driver: Driver, tmp_path: Path
) -> None:
    driver.late_s = late_s
    assert command(tmp_path, flag) == code


def test_a_run_that_is_cut_short_is_reported_as_partial(
    driver: Driver, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    driver.cut_at = 30.0
    assert command(tmp_path) == 1
    told = capsys.readouterr()
    assert ", partial\n" in told.out
    assert "loadtest: partial: interrupted (SIGINT)" in told.err
    assert 'class="pill partial"' in (tmp_path / "report.html").read_text()
    assert orjson.loads((tmp_path / "report.json").read_bytes())["facts"]["partial"] == "interrupted (SIGINT)"


def test_a_job_that_ends_by_itself_fails_the_run_and_is_reported(
    driver: Driver, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def failing(options: RunOptions, *_: object) -> Iterator[Target]:
        yield Target(options, System(), warm_up_s=10.0)
        raise ChildError("the job ended by itself with exit code 3", 3)

    monkeypatch.setattr(module, "started", failing)
    assert command(tmp_path) == 1
    assert "loadtest: the job ended by itself with exit code 3" in capsys.readouterr().err
    assert (tmp_path / "report.html").is_file()


def test_an_earlier_run_is_not_reported_again(
    driver: Driver, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(tmp_path) == 0
    capsys.readouterr()
    driver.sends = False
    assert command(tmp_path) == 1
    told = capsys.readouterr()
    assert not told.out
    assert "there is nothing to report: interrupted before the first message" in told.err


def test_the_config_file_may_hold_all_of_it(driver: Driver, tmp_path: Path) -> None:
    config = tmp_path / "flags.toml"
    config.write_text(
        'schedule = "ramp"\nto_rate = 300\nfail_if = ["p50>1ms", "lost>0"]\nobjective = ["p99<1s"]\n'
    )
    line, asked = parse_run([f"--config={config}", *ELSEWHERE])
    assert not line.problems
    assert (line.options.schedule, line.options.rate, line.options.to_rate) == ("ramp", 100, 300)
    assert [each.text for each in asked.failures] == ["p50>1ms", "lost>0"]
    assert asked.tightest_s == pytest.approx(0.001)


def test_a_trace_brings_its_own_rate(tmp_path: Path) -> None:
    trace = tmp_path / "trace.txt"
    trace.write_text("0\n1\n3\n4\n")
    line, _ = parse_run(["--schedule=trace", f"--trace={trace}", *ELSEWHERE])
    assert not line.problems
    assert len(line.options.arrivals.offsets()) == 4


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--objective=p99"], "--objective: 'p99' is no objective"),
        (["--fail_if=p99<50ms"], "--fail_if: 'p99<50ms': p99 takes >= or >, not <"),
        (["--schedule=ramp"], "to_rate"),
        (
            ["--audit", "--", "--decode_hook=m:f", "--model_class=m:C"],
            "you alone know what a request looks like",
        ),
        (["--fail_iff=lost>0"], "did you mean --fail_if"),
    ],
)
def test_wrong_flags(arguments: list[str], problem: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(arguments) == 2
    assert problem in capsys.readouterr().err


@pytest.mark.slow
def test_a_real_job(tmp_path: Path) -> None:
    flags = ["--rate=50", "--duration=6", "--objective=p99<1s", "--fail-if=achieved<101%", "--fail-if=lost>0"]
    run = subprocess.run(
        [sys.executable, "-m", "lab", "run", f"--out={tmp_path}", *flags],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=3 * LIMIT_S,
    )
    assert run.returncode == 1, run.stderr
    assert "✗ achieved<101%: achieved " in run.stdout
    assert "✓ lost>0: lost 0 of 300" in run.stdout
    assert "sending: sent" in run.stderr
    names = {path.name for path in tmp_path.iterdir()}
    assert names >= {"run.json", "messages.npz", "report.json", "report.html", "pipeline.log"}
    report = orjson.loads((tmp_path / "report.json").read_bytes())
    assert report["facts"]["system"]["kind"] == "local job"
    assert report["bottleneck"] is not None


@pytest.mark.slow
def test_an_interrupt_of_a_real_job(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "lab", "run", f"--out={tmp_path / 'out'}", "--rate=50", "--duration=3600"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        results = tmp_path / "out" / "results.jsonl"
        wait_until(lambda: results.is_file() and results.stat().st_size > 0)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=LIMIT_S)
    finally:
        process.kill()
    assert process.returncode == 1
    assert ", partial\n" in out
    assert "loadtest: partial: interrupted (SIGINT) after " in err
    assert "partial</span>" in (tmp_path / "out" / "report.html").read_text()
