"""What runs for each command, asking before a cancel, and what the launch's own modules import."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pytest

from launch.__main__ import RUN, main
from launch.cloud.shell import Shell
from launch.commands import endpoint, job
from launch.settings.setting import Settings
from launch.settings.table import COMMANDS
from tests.launch.conftest import ENVIRON

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


def test_each_command_has_an_entry_and_no_other_has() -> None:
    assert set(RUN) == {command.name for command in COMMANDS}
    for run, entries in ((job.run, job.RUN), (endpoint.run, endpoint.RUN)):
        assert set(entries) == {name for name in RUN if RUN[name] == run}
        unknown = Settings("endpoint redeploy", {})
        with pytest.raises(KeyError, match="endpoint redeploy"):
            run(unknown, Shell(dry_run=True))


def test_it_starts_without_beam_and_torch() -> None:
    """They take seconds to import, which `status` or `--help` would wait for."""
    code = "import launch.__main__, sys; print({'apache_beam', 'torch'} & set(sys.modules))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout.strip() == "set()"
