"""Refusals of `launch.sh local`, before anything starts; its runs are in tests/integration."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from rich.console import Console

from loadtest.options import RunOptions
from loadtest.run import RunError
from loadtest.run_folder import held
from local import command
from local.command import local_command


@pytest.mark.parametrize("mode", [["--inference_mode=local"], ["--inference_mode", "endpoint"]])
def test_compare_and_a_mode_are_refused(
    mode: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert local_command([f"--out={out}", "--compare", "--", *mode]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"--inference_mode={mode[-1].split('=')[-1]} cannot go with --compare")
    assert "runs both modes" in line
    assert not out.exists()


def test_all_mistakes_are_listed_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [f"--out={tmp_path}", "--rate=0", "--colour=red", "--compare", "--", "--inference_mode=local"]
    assert local_command(arguments) == 2
    mistakes = capsys.readouterr().err.splitlines()
    assert sorted(line.split("=")[0] for line in mistakes) == ["--colour", "--inference_mode", "--rate"]


def test_help_tells_of_both_modes(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        local_command(["--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert "--compare" in shown
    assert "--inference_mode=endpoint" in shown


@pytest.mark.parametrize("asks", [["--compare", "--"], ["--", "--inference_mode=endpoint"]])
def test_the_container_follows_no_pointer(
    asks: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert local_command([f"--out={tmp_path / 'out'}", *asks, "--model_pointer=models/current"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("--model_pointer: the endpoint container does not follow it")


def test_two_runs_in_one_second_have_a_folder_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(time, "strftime", lambda form: "20260101-000000")
    used: list[Path] = []

    def run_local(options: RunOptions, topics: object, flags: object, stop: object, console: Console) -> None:
        used.append(options.out)
        if len(used) == 1:
            local_command([])
        raise RunError("enough")

    monkeypatch.setattr(command, "run_local", run_local)
    assert local_command([]) == 1
    assert [str(out) for out in used] == ["runs/20260101-000000", "runs/20260101-000000-2"]


def test_a_folder_in_use_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with held(tmp_path / "out"):
        assert local_command([f"--out={tmp_path / 'out'}"]) == 1
    assert "out is in use by another run" in capsys.readouterr().err
