"""Commands whose output is read in part only, as by `| head`."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    "command",
    ["pipeline", "local", "local.send", "loadtest run", "broker", "launch run", "serving"],
)
def test_help_into_a_closed_pipe_leaves_no_traceback(command: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", *command.split(), "--help"],
        env={name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    process.stdout.close()
    _, errors = process.communicate()
    assert errors == ""
    assert process.returncode == 141


def test_it_ends_with_what_a_shell_says_of_such_a_command() -> None:
    script = (
        "from pipeline.process.output import until_output_closes\n"
        "raise SystemExit(until_output_closes(lambda: print(99_999 * 'x')))"
    )
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.close()
    assert process.wait() == 141


def test_another_pipe_that_breaks_is_an_error() -> None:
    script = (
        "from pipeline.process.output import until_output_closes\n"
        "def main(): raise BrokenPipeError\n"
        "until_output_closes(main)"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert run.returncode == 1
    assert "BrokenPipeError" in run.stderr
