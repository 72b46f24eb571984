"""`python -m benchmarks.gpu`: its flags, its rehearsal, and its exit code by what became of the parts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.gpu import __main__ as command
from benchmarks.gpu.context import NO_TIME, Context, NotAvailableError, Row
from benchmarks.gpu.plan import PARTS
from benchmarks.gpu.process import main as process
from benchmarks.gpu.status import NOT_AVAILABLE_CODE, Outcome, Status, outcome


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        (["--parts=plain,speed"], "'plain,speed': the parts are tests, against_stock, plain"),
        (["--minutes=0"], "--minutes"),
        (["--out=/no/such/folder"], "--out"),
    ],
)
def test_wrong_flags(flags: list[str], problem: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command.main(["--rehearse", *flags])
    assert ended.value.code == 2
    assert problem in capsys.readouterr().err


@pytest.mark.slow
def test_a_rehearsal_says_that_it_is_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Both ways answer alike, by the same code that runs on a GPU."""
    flags = ["--rehearse", "--minutes=0.4", "--parts=against_stock,waiting", f"--out={tmp_path}"]
    assert command.main(flags) == 0
    shown = capsys.readouterr().out
    text, found = (
        (tmp_path / "gpu-rehearsal.txt").read_text(),
        json.loads((tmp_path / "gpu-rehearsal.json").read_text()),
    )
    assert shown.strip() == text.strip()
    assert text.startswith("REHEARSAL on the CPU")
    assert {row["side"] for row in found["parts"]["against_stock"]["rows"]} == {"stock", "ours"}
    waited = found["parts"]["waiting"]
    assert (waited["status"], waited["reason"]) == ("not available", "there is no GPU to wait for")
    assert set(found["machine"]) >= {"device", "driver", "torch", "apache-beam", "python", "date"}
    assert not list(tmp_path.glob("*.part"))


def test_rows_before_a_failure_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(context: Context) -> Iterator[dict[str, object]]:
        yield {"rate": 1.0}
        raise NotAvailableError("no more")

    monkeypatch.setitem(PARTS, "plain", type(PARTS["plain"])("Plain", measure, 1))
    rows, why_not = tmp_path / "rows", tmp_path / "why not"
    flags = [f"--folder={tmp_path}", f"--rows={rows}", f"--why-not={why_not}"]
    assert process(["plain", "--seconds=1", "--rehearse", *flags]) == NOT_AVAILABLE_CODE
    assert [json.loads(line) for line in rows.read_text().splitlines()] == [{"rate": 1.0}]
    assert why_not.read_text() == "no more"


@pytest.mark.parametrize(
    ("code", "rows", "expected", "is_error"),
    [
        (0, [{"rate": 1.0}], Outcome(Status.MEASURED), False),
        (0, [NO_TIME, {}], Outcome(Status.PARTIAL, "no time was left for 1 of 2 rows"), False),
        (NOT_AVAILABLE_CODE, [], Outcome(Status.NOT_AVAILABLE, "no GPU"), False),
        (None, [{}], Outcome(Status.HUNG, "it went on after its time was up: CUDA error"), True),
        (1, [], Outcome(Status.FAILED, "exit code 1: CUDA error"), True),
    ],
)
def test_what_became_of_a_part(code: int | None, rows: list[Row], expected: Outcome, is_error: bool) -> None:
    assert outcome(code, rows, "no GPU", "CUDA\nerror") == expected
    assert expected.is_error is is_error


@pytest.mark.parametrize(("code", "ends_with"), [(0, 0), (NOT_AVAILABLE_CODE, 0), (None, 1), (1, 1)])
def test_the_exit_code_counts_parts_that_hang_or_fail(
    code: int | None, ends_with: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "run_child", lambda *arguments: code)
    assert command.main(["--rehearse", "--parts=plain,plain", f"--out={tmp_path}"]) == ends_with
