"""Refusals of `launch.sh local`, before anything starts; its runs are in tests/integration."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from pathlib import Path

import pytest
from rich.console import Console

from loadtest.driver.errors import RunError
from loadtest.options import RunOptions
from loadtest.run_folder import held
from local import command
from local.command import local_command
from tests.pipeline.model.files.test_input_shape import export_named


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
    assert sorted(re.split("[=:]", line)[0] for line in mistakes) == [
        "--colour",
        "--inference_mode",
        "--rate",
    ]


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
    pointer = tmp_path / "current"
    pointer.write_text("model.pt2")
    assert local_command([f"--out={tmp_path / 'out'}", *asks, f"--model_pointer={pointer}"]) == 2
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


@pytest.fixture
def never_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the test fail if a process is started."""

    def started(*arguments: object, **options: object) -> None:
        raise AssertionError("a process was started")

    monkeypatch.setattr(subprocess, "Popen", started)


@pytest.mark.usefixtures("never_started")
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--model-path=nope.pt2"], ["--model_path: there is no file 'nope.pt2'"]),
        (["--model_path", "nope.pt2"], ["--model_path: there is no file 'nope.pt2'"]),
        (
            ["--max_batch_siz", "5", "--device=cuda"],
            ["--max_batch_siz: there is no such flag; did you mean --max_batch_size?", "--device: 'cuda'"],
        ),
        (["--runner=DirectRunner"], ["--runner: a local run sets it itself"]),
        (
            [
                "--input_subscription=projects/p/subscriptions/s",
                "--output-topic",
                "t",
                "--dead_letter_topic=t",
            ],
            [
                "--input_subscription: a local run sets it itself",
                "--output_topic: a local run sets it itself",
                "--dead_letter_topic: a local run sets it itself",
            ],
        ),
        (["--output_table=my-project:d.t"], ["--output_table: works on Dataflow only"]),
        (["--inference_mode=endpoint", "--endpoint=12"], ["--endpoint_location: missing"]),
        (["--input_shape=three"], ["--input_shape: 'three' is not a shape"]),
        (["--decode_hook=a.b:c", "--input_shape=3"], ["--input: missing: with --decode_hook"]),
    ],
)
def test_wrong_flags_of_the_job_are_found_before_anything_starts(
    arguments: list[str], expected: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert local_command([f"--out={tmp_path / 'out'}", "--", *arguments]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == len(expected)
    assert all(line.startswith(start) for line, start in zip(lines, expected, strict=True)), lines
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("never_started")
def test_a_mistyped_flag_with_a_value_is_reported_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert local_command(["--rat", "5", "--max_batch_size", "3"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "--rat: there is no such flag; did you mean --rate?",
        "--max_batch_size: there is no such flag; see --help; flags of the job come after --",
    ]


@pytest.mark.usefixtures("never_started")
@pytest.mark.parametrize("asks", ["--help", "-h", "--help_beam"])
def test_the_jobs_own_help(asks: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert local_command(["--", asks]) == 0
    text = capsys.readouterr().out
    assert "--max_batch_size" in text
    assert ("--temp_location" in text) == (asks == "--help_beam")


@pytest.mark.usefixtures("never_started")
def test_a_wrong_emulator_host(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", "localhost")
    assert local_command([]) == 2
    assert capsys.readouterr().err.startswith("PUBSUB_EMULATOR_HOST=localhost: it needs a host and a port")


def test_a_model_of_ones_own_gets_requests_of_its_shape(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tmp_path / "m.pt2"
    export_named(model)
    used: list[RunOptions] = []

    def run_local(options: RunOptions, topics: object, flags: object, stop: object, console: Console) -> None:
        used.append(options)
        raise RunError("enough")

    monkeypatch.setattr(command, "run_local", run_local)
    assert local_command([f"--out={tmp_path / 'out'}", "--", f"--model_path={model}"]) == 1
    first = json.loads(used[0].input.bodies[0])["inputs"]
    assert {name: len(row) for name, row in first.items()} == {"ids": 4, "scale": 3}
    assert set(first["ids"]) <= {0, 1}
    lines = (tmp_path / "out/made_requests.jsonl").read_bytes().splitlines()
    assert lines == used[0].input.bodies
    # What the user brings stays what is sent.
    (tmp_path / "mine.jsonl").write_text('{"inputs": {}}')
    mine = [f"--out={tmp_path / 'two'}", f"--input={tmp_path / 'mine.jsonl'}", "--", f"--model_path={model}"]
    assert local_command(mine) == 1
    assert used[1].input.bodies == [b'{"inputs": {}}']
    assert not (tmp_path / "two/made_requests.jsonl").exists()


def test_requests_may_come_by_a_pipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[RunOptions] = []

    def run_local(options: RunOptions, topics: object, flags: object, stop: object, console: Console) -> None:
        used.append(options)
        raise RunError("enough")

    monkeypatch.setattr(command, "run_local", run_local)
    reading, writing = os.pipe()
    os.write(writing, b'{"features": [1]}\n')
    os.close(writing)
    assert local_command([f"--input=/dev/fd/{reading}", f"--out={tmp_path / 'out'}"]) == 1
    os.close(reading)
    assert used[0].input.bodies == [b'{"features": [1]}']


def test_a_server_that_is_not_started_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    url = "--endpoint_url=http://127.0.0.1:1/predict"
    for of_job in ([], ["--inference_mode=local"], ["--inference_mode=endpoint", url]):
        assert local_command([f"--out={tmp_path / 'out'}", "--server=triton", "--", *of_job]) == 2
        assert "--server: no endpoint is started here: add --compare" in capsys.readouterr().err
