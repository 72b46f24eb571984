"""`./launch.sh plan compare` and `plan validate`, run in this process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from planner.__main__ import main
from planner.runs import RunsError, read_runs

LOCAL = "machine_type: n1-standard-4\nmax_workers: 4\njob:\n  max_batch_size: 64\n"
ENDPOINT = "mode: endpoint\nmax_workers: 4\nnum_workers: 1\nmax_replicas: 2\n"
LOAD = ("--workload=constant 500 5m", "--draws=5")


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    for name, text in (("local", LOCAL), ("remote", ENDPOINT)):
        (tmp_path / f"{name}.yaml").write_text(text)
    return [str(tmp_path / "local.yaml"), str(tmp_path / "remote.yaml")]


def write(tmp_path: Path, content: object) -> str:
    path = tmp_path / "runs.json"
    path.write_bytes(orjson.dumps(content))
    return str(path)


def validated(capsys: pytest.CaptureFixture[str], path: str) -> dict[str, Any]:
    assert main(["validate", path, "--json"]) == 0
    found: dict[str, Any] = orjson.loads(capsys.readouterr().out)
    return found


def test_files_stand_side_by_side(
    files: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    assert main(["compare", *files, *LOAD]) == 0
    text = capsys.readouterr().out
    assert "costs" in text
    assert "local: It keeps up" in text
    assert "./launch.sh endpoint deploy --max-replicas=2" in text
    assert all(len(line) <= 60 for line in text.splitlines() if line[:1] in "┏┃│└" and line)


def test_a_file_wins_over_the_command_line(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(["compare", *files, *LOAD, "--max-workers=9", "--machine-type", "n2-standard-4", "--json"]) == 0
    )
    here, there = orjson.loads(capsys.readouterr().out)
    assert here["settings"]["--max-workers"] == "4"
    assert (here["machine_type"], there["machine_type"]) == ("n1-standard-4", "n2-standard-4")
    assert here["job_flags"] == {"max_batch_size": "64"}


@pytest.mark.parametrize(
    ("text", "fix"),
    [
        ("max_wrkers: 4\n", "did you mean --max-workers?"),
        ("- 4\n", "as in 'max_workers: 4'"),
        ("a: [\n", "is no YAML"),
        ("max_workers: [4]\n", "is no text or number"),
        ("job: 4\n", "below it"),
    ],
)
def test_a_wrong_file_is_named(
    text: str, fix: str, files: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    Path(files[1]).write_text(text)
    assert main(["compare", *files, *LOAD]) == 2
    told = capsys.readouterr().err
    assert told.count("remote.yaml") == 1
    assert "local.yaml" not in told
    assert fix in told


def test_one_file_is_too_few(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", files[0], *LOAD]) == 2
    assert "two files" in capsys.readouterr().err


def test_runs_beside_their_predictions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = {"machine_type": "n1-standard-4", "draws": 5}
    runs = [
        {"name": "quiet", "offered": 500, "achieved": 500, "p50_ms": 58, "p99_ms": 250, "workers": 1},
        {"name": "late", "offered": 500, "achieved": 500, "p50_ms": 60, "p99_ms": 30_000},
        {"name": "full", "offered": 100_000, "achieved": 40_000, "configuration": {"max_workers": 1}},
    ]
    found = validated(capsys, write(tmp_path, {"source": "made up", "configuration": common, "runs": runs}))
    scores = {each["name"]: each for each in found["scores"]}
    assert {name: each["n"] for name, each in scores.items()} == {
        "achieved": 3,
        "p50_ms": 2,
        "p99_ms": 2,
        "workers": 1,
    }
    assert scores["p99_ms"]["worst"] == "late"
    assert scores["p99_ms"]["signed"] < 0 < scores["p99_ms"]["mape"]
    told = {each["name"]: each["unexplained"] for each in found["runs"]}
    assert told["quiet"] == told["full"] == ""
    assert "not in the model" in told["late"]
    full = next(each for each in found["runs"] if each["name"] == "full")
    assert full["errors"]["achieved"] == pytest.approx(full["predicted"]["achieved"] / 40_000 - 1, abs=1e-5)


def test_a_run_that_kept_up_and_should_not_have(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = {"offered": 100_000, "achieved": 100_000, "configuration": {"max_workers": 1, "draws": 5}}
    found = validated(capsys, write(tmp_path, [run]))
    assert found["runs"][0]["unexplained"] == "it kept up, and by the prediction it did not keep up"
    assert main(["validate", str(tmp_path / "runs.json")]) == 0
    assert "not explained, 1 of 1 runs" in capsys.readouterr().out


def test_predicted_costs_have_the_dates_of_their_prices(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = {"offered": 500, "cost": 0.5, "configuration": {"max_workers": 1, "draws": 5}}
    assert main(["validate", write(tmp_path, [run])]) == 0
    assert "predicted costs are at prices of 2026-" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "fix"),
    [
        ([], "has no runs"),
        ([{"achieved": 3}], "needs offered"),
        ([{"offered": 3, "p98_ms": 1}], "p99_ms"),
        ([{"offered": 0}], "run 1"),
        ([{"offered": 3, "workers": -1}], "run 1"),
        ({"run": []}, "needs offered"),
    ],
)
def test_a_file_that_holds_no_runs(content: object, fix: str, tmp_path: Path) -> None:
    with pytest.raises(RunsError, match=fix):
        read_runs(Path(write(tmp_path, content)))


def test_a_wrong_flag_in_a_run_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [{"offered": 3, "configuration": {"draws": 5}}, {"offered": 3, "configuration": {"max_wrkers": 3}}]
    assert main(["validate", write(tmp_path, runs)]) == 2
    told = capsys.readouterr().err
    assert told.startswith("run 2: --max-wrkers")
    assert main(["validate"]) == 2
    assert main(["validate", "a.json", "--draws=3"]) == 2
    assert main(["validate", str(tmp_path / "none.json")]) == 1
