"""`python -m loadtest` as a user starts it: exit codes and what is printed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from loadtest.__main__ import main
from tests.loadtest.conftest import INPUT, OUTPUT_TOPIC, Hub
from tests.loadtest.driver.test_run import sequence, to_results
from tests.loadtest.echo import echo, result_message
from tests.waiting import LIMIT_S, TIME_SCALE, WARNINGS_ARE_ERRORS, wait_until


def start(hub: Hub, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "loadtest", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | WARNINGS_ARE_ERRORS | {"PUBSUB_EMULATOR_HOST": hub.broker.address, "COLUMNS": "80"},
    )


@pytest.fixture
def flags(input_file: Path, tmp_path: Path) -> list[str]:
    return [
        "run",
        "--project=project",
        "--input_topic=requests",
        "--output_subscription=projects/project/subscriptions/results",
        "--dead_letter_subscription=dead-letters",
        "--rate=50",
        "--schedule=constant",
        "--seed=1",
        f"--input={input_file}",
        f"--out={tmp_path / 'out'}",
    ]


def test_a_good_run_ends_with_the_table_and_the_files(hub: Hub, flags: list[str], tmp_path: Path) -> None:
    with echo(hub.calls, INPUT, to_results):
        process = start(hub, *flags, "--duration=1")
        output, errors = process.communicate(timeout=LIMIT_S)
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    # On a busy machine the driver may be late; that and nothing else may then be complained about.
    late = summary["schedule_error_ms"]["p99"] > 5
    assert process.returncode == int(late), errors
    assert ("missed its schedule" in errors) == late
    assert (summary["sent"], summary["received"], summary["lost"]) == (50, 50, 0)
    assert "50 requests: all with a result" in output
    assert f"{tmp_path}/out/results.jsonl  each result" in output
    assert "ROC AUC" not in output  # of the bundled example alone
    for word in ("sent", "received", "duplicates", "dead letters", "lost", "offered rate", "achieved rate",
                 "p99.9", "queue", "batch wait", "inference", "rest", "schedule error p99"):  # fmt: skip
        assert word in output
    assert max(len(line) for line in output.splitlines() if line.startswith(("│", "┃", "┌"))) <= 80


def test_a_lost_request_exits_1_and_says_so(hub: Hub, flags: list[str]) -> None:
    with echo(hub.calls, INPUT, lambda message: [] if sequence(message) == 4 else to_results(message)):
        process = start(hub, *flags, "--duration=0.5", f"--drain_timeout={2 * TIME_SCALE}")
        output, errors = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 1
    assert "loadtest: lost 1 of 25 requests" in errors
    assert "25 requests: 24 with a result, 1 not answered in time" in output


def test_a_silent_job_exits_1_with_one_line(hub: Hub, flags: list[str]) -> None:
    process = start(hub, *flags, "--duration=1", "--ready_timeout=0.3")
    _, errors = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 1
    assert len(errors.splitlines()) == 1
    assert "projects/project/subscriptions/results" in errors


def test_wrong_flags_exit_2_with_a_line_each(hub: Hub, flags: list[str]) -> None:
    process = start(hub, *flags, "--duration=0", "--rate=0", "--input=/no/such/file", "--colour=red")
    output, errors = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 2
    assert output == ""
    assert len(errors.splitlines()) == 4
    for flag in ("--duration", "--rate", "--input", "--colour"):
        assert any(line.startswith(flag) for line in errors.splitlines())


@pytest.mark.parametrize(("arguments", "code"), [([], 2), (["rum"], 2), (["--help"], 0)])
def test_without_a_command_the_commands_are_named(
    capsys: pytest.CaptureFixture[str], arguments: list[str], code: int
) -> None:
    assert main(arguments) == code
    shown = capsys.readouterr()
    assert "python -m loadtest run" in (shown.err if code else shown.out)


def test_help_of_run_exits_0(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["run", "--help"])
    assert ended.value.code == 0
    assert "--output_subscription" in capsys.readouterr().out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_early_with_a_summary(
    hub: Hub, flags: list[str], tmp_path: Path, number: signal.Signals
) -> None:
    answered = []

    def answering(message: object) -> list[tuple[str, object]]:
        answered.append(message)
        return [(OUTPUT_TOPIC, result_message(message))]

    with echo(hub.calls, INPUT, answering):
        process = start(hub, *flags, "--duration=3600")
        wait_until(lambda: len(answered) > 10)
        process.send_signal(number)
        output, errors = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 1
    assert f"loadtest: interrupted ({number.name}) after" in errors
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["sent"] == summary["received"] > 0
    assert summary["error"].startswith(f"interrupted ({number.name}) after")
    assert "results.jsonl" in output.splitlines()[-1]
