"""Refusals of `launch.sh local`, before anything starts; its runs are in tests/integration."""

from __future__ import annotations

from pathlib import Path

import pytest

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
