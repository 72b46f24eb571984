"""What a sweep is asked for: its flags, its file to go on from, and the commands of a job elsewhere."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from lab.sweep import sweep_command
from lab.sweep_flags import parse_sweep
from loadtest.search.sweep_file import Sweep, SweepFileError


def test_two_flags_make_every_combination(tmp_path: Path) -> None:
    line, sweep, combinations = parse_sweep(
        [f"--out={tmp_path}", "--sweep=max_batch_size=1,8", "--sweep=max_batch_wait_ms=0,5"]
    )
    assert sweep is not None, line.problems
    assert [each.arguments for each in combinations] == [
        [f"--max_batch_size={size}", f"--max_batch_wait_ms={wait}"] for size in (1, 8) for wait in (0, 5)
    ]


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
