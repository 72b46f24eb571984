"""What runs for each command, asking before a cancel, and what the launch's modules import."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pytest

from launch.__main__ import main
from launch.commands.table import COMMANDS, command_named
from tests.launch.conftest import ENVIRON
from tests.waiting import LIMIT_S

JOB_ID = "2026-01-02_03_04_05-678"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("typed", "flags", "cancelled"),
    [("y\n", [], True), ("yes\n", [], True), ("n\n", [], False), ("", [], False), ("", ["--yes"], True)],
)
def test_cancel_asks_first(
    typed: str,
    flags: list[str],
    cancelled: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """With a gcloud that writes down how it was called."""
    gcloud = tmp_path / "gcloud"
    gcloud.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/called\n')
    gcloud.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "stdin", Terminal(typed))
    assert main(["cancel", JOB_ID, *flags], ENVIRON, tmp_path / "none") == 0
    called = (tmp_path / "called").read_text() if (tmp_path / "called").exists() else ""
    assert called.startswith(f"dataflow jobs cancel {JOB_ID} ") is cancelled
    printed = capsys.readouterr()
    assert "may lose requests" in printed.out + printed.err
    assert ("not cancelled" in printed.out) is not cancelled


def test_each_command_runs_something_of_its_own() -> None:
    """None falls back on another's: once, a command without an entry undeployed."""
    assert len({command.run for command in COMMANDS}) == len(COMMANDS)
    assert len({command.name for command in COMMANDS}) == len(COMMANDS)


@pytest.mark.parametrize("name", ["endpoint redeploy", "endpoint", "show", ""])
def test_an_unknown_command_is_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(KeyError, match=f"'{name}'"):
        command_named(name)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main([*name.split(), "--endpoint=1", "--yes"], ENVIRON, tmp_path / "none") == 2
    assert "not one of setup, build, run, " in capsys.readouterr().err


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_of_commands_with_a_first_word_in_common(
    flag: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["endpoint", flag], {}, tmp_path / "none") == 0
    shown = capsys.readouterr().out
    assert shown.startswith("usage: ./launch.sh endpoint deploy|update|undeploy [flags]\n")
    assert all(command.summary in shown for command in COMMANDS if command.name.startswith("endpoint "))
    assert main(["status-", flag], {}, tmp_path / "none") == 2


def test_it_starts_without_beam_and_torch() -> None:
    """They take seconds to import, which `status` or `--help` would wait for."""
    code = "import launch.__main__, sys; print({'apache_beam', 'torch'} & set(sys.modules))"
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=LIMIT_S, check=True
    )
    assert ran.stdout.strip() == "set()"
