"""`./launch.sh loadtest report` as a user gives it."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import pytest

from lab import report as command
from lab.__main__ import main
from loadtest.report import picture
from tests.loadtest.made_log import Load, made_log


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return written(tmp_path / "run")


def written(folder: Path, load: Load | None = None) -> Path:
    folder.mkdir()
    made_log(load or Load(rate=100, seconds=30)).write(folder)
    return folder


def test_a_page_and_json_in_the_folder_and_the_verdict_on_the_screen(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", str(run)]) == 0
    shown = capsys.readouterr().out
    assert f"{run}: sustained" in shown
    assert "It carried 100 messages a second" in shown
    assert str(run / "report.html") in shown
    assert (run / "report.html").read_text().startswith("<!DOCTYPE html>")
    assert json.loads((run / "report.json").read_bytes())["verdict"]["outcome"] == "sustained"


def test_the_same_raw_log_gives_the_same_bytes(run: Path) -> None:
    contents = []
    for _ in range(2):
        assert main(["report", str(run)]) == 0
        contents.append([(run / name).read_bytes() for name in ("report.json", "report.html")])
    assert contents[0] == contents[1]


def test_json_has_sorted_keys_and_a_stated_precision(run: Path) -> None:
    main(["report", str(run)])
    report = json.loads((run / "report.json").read_bytes())
    assert list(report) == sorted(report)
    assert report["precision"] == "6 significant digits"
    p99 = report["corrected"]["figures"]["p99"]
    assert p99["value"] == float(f"{p99['value']:.6g}")
    assert {"low", "high", "effective_n", "guard", "basis", "unit", "n"} <= set(p99)
    assert report["facts"]["started"] == 1_790_000_000
    assert len(report["per_second"]["offered"]) == 30


def test_json_on_the_screen_is_all_there_is(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(run), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads((run / "report.json").read_bytes())


def test_json_of_several_runs_is_a_list(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = written(tmp_path / "other")
    page = tmp_path / "both.html"
    assert main(["report", str(run), str(other), "--json", f"--out={page}"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 2
    assert "2 runs compared" in page.read_text()


def test_csv_has_a_row_for_each_second(run: Path, tmp_path: Path) -> None:
    assert main(["report", str(run), f"--csv={tmp_path / 'series.csv'}"]) == 0
    with (tmp_path / "series.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 30
    assert rows[12]["second"] == "12"
    assert rows[12]["offered_per_s"] == "100"
    assert float(rows[12]["latency_p99_ms"]) > float(rows[12]["latency_p50_ms"]) > 0
    assert rows[12]["stage_server_ms"] == ""


def test_an_invalid_run_is_reported_and_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = written(tmp_path / "bad", Load(rate=100, seconds=30, schedule_error_s=0.05))
    assert main(["report", str(bad)]) == 1
    assert f"{bad}: INVALID" in capsys.readouterr().out


def test_a_folder_without_a_run_is_told_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(tmp_path)]) == 1
    assert "run.json is missing: give the folder of a run that has ended" in capsys.readouterr().err


@pytest.mark.parametrize("wrong", [["--deadline_s=0"], ["--deadline-s=soon"], ["--ping=x"], []])
def test_wrong_flags_are_refused(run: Path, wrong: list[str]) -> None:
    folders = [str(run)] if wrong else []
    with pytest.raises(SystemExit) as stopped:
        main(["report", *folders, *wrong])
    assert stopped.value.code == 2
    assert not (run / "report.html").exists()


def test_a_deadline_makes_answers_late(run: Path) -> None:
    assert main(["report", str(run), "--deadline-s=0.001"]) == 0
    assert json.loads((run / "report.json").read_bytes())["counts"]["late"] == 3_000


def test_a_picture_without_a_browser_says_what_to_install(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(picture, "BROWSERS", ("no-such-browser",))
    assert main(["report", str(run), "--png=x.png"]) == 2
    assert "--png needs a browser" in capsys.readouterr().err
    assert not (run / "report.html").exists()


def test_a_file_that_cannot_be_written_is_named(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", str(run), f"--out={tmp_path / 'none' / 'report.html'}"]) == 1
    assert "report.html cannot be written (No such file or directory)" in capsys.readouterr().err


def test_a_page_too_large_to_open_well_is_refused(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "MOST_BYTES", 1_000)
    assert main(["report", str(run)]) == 1
    assert "give fewer folders" in capsys.readouterr().err
    assert os.listdir(run).count("report.html") == 0
