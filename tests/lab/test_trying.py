"""The change that a search names, tried on a made queue."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from lab import search as search_module
from lab import search_command as command_module
from lab import trying as module
from lab.found import Found
from lab.probing import Probed
from lab.report import report_command
from lab.search_command import search_command
from lab.trying import NothingToTryError, to_try
from loadtest.bottleneck.diagnosis import Change, Diagnosis, Expectation, Limit
from local.job_flags import JobFlags
from tests.lab.test_search import Queue
from tests.lab.test_sweep import A_FEW_PROBES, FLAGS, Jobs, slow_queue

RATE = Expectation("rate", 133.34, "1/s", 65.0, at_most=True, formula="made up")
LATENCY = Expectation("latency", 0.5, "s", 1.25, at_most=False, formula="made up")


@pytest.fixture
def queue(monkeypatch: pytest.MonkeyPatch) -> Queue:
    made = slow_queue()
    monkeypatch.setattr(search_module, "make_probe", made)
    return made


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> Jobs:
    made = Jobs()
    monkeypatch.setattr(search_module, "started", made)
    monkeypatch.setattr(command_module, "started", made)
    return made


def names(
    monkeypatch: pytest.MonkeyPatch,
    flags: tuple[str, ...],
    expected: Expectation | None,
    limit: Limit = "batching",
) -> None:
    """Let every search name a change, as of its first failing probe."""

    def limit_of(found: Found) -> tuple[Probed, Diagnosis]:
        failed = next(
            number for number, (_, seen) in enumerate(found.search.history, start=1) if not seen[0].passed
        )
        return found.probed[failed], Diagnosis(limit, (), Change(flags, "larger batches"), expected)

    monkeypatch.setattr(module, "limit_of", limit_of)


def searched(out: Path, *more: str) -> int:
    return search_command([*FLAGS, f"--out={out}", "--try", *more, "--", "--max_batch_size=4"])


@pytest.mark.slow
def test_the_outcome_stands_beside_the_expectation(
    queue: Queue,
    jobs: Jobs,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    names(monkeypatch, ("--max_batch_size=8",), RATE)
    assert searched(tmp_path) == 0
    assert jobs.started == ["--max_batch_size=4", "--max_batch_size=4 --max_batch_size=8"]
    before, after = (
        orjson.loads((folder / "search.json").read_bytes()) for folder in (tmp_path, tmp_path / "tried")
    )
    assert before["settings"] == after["settings"]
    assert before["probes"][0]["probe"] == after["probes"][0]["probe"]
    claims = [one["boundaries"][0]["claim"] for one in (before, after)]
    assert claims[0] < 4 / 0.06 < claims[1] < 8 / 0.08
    sentence = (
        "tried max_batch_size=8: expected, extrapolated: at most 133.34/s; "
        f"measured: {claims[1]:,.6g}/s ({claims[0]:,.6g}/s before)"
    )
    assert sentence in capsys.readouterr().out
    page = (tmp_path / "report.html").read_text()
    assert sentence in page
    assert page.index("max_batch_size=8 sustains the most") < page.index("search for p99")


def test_a_latency_is_that_at_the_same_rate(
    queue: Queue,
    jobs: Jobs,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The first failing probe is at 160/s in both searches, where 8 at a time are not enough either."""
    names(monkeypatch, ("--max_batch_size=8",), LATENCY)
    assert searched(tmp_path, A_FEW_PROBES, "--json") == 1
    tried = orjson.loads(capsys.readouterr().out)["tried"]
    assert tried["expected"]["value"] == 0.5
    assert tried["measured"] > 0.1
    assert tried["after"]["flags"] == {"max_batch_size": "8"}
    page = (tmp_path / "report.html").read_bytes()
    assert b"expected, extrapolated: mean latency 500 ms; measured: " in page
    assert report_command([str(tmp_path)]) == 0
    assert (tmp_path / "report.html").read_bytes() == page
    # An earlier search into the same folder has tried it.
    tried["before"]["boundary"]["infeasible_min"] += 1
    (tmp_path / "tried" / "tried.json").write_bytes(orjson.dumps(tried))
    assert report_command([str(tmp_path)]) == 0
    assert b"the change to try first, tried" not in (tmp_path / "report.html").read_bytes()


def test_a_change_whose_job_does_not_start_is_told_of(
    queue: Queue,
    jobs: Jobs,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    names(monkeypatch, ("--max_batch_size=8",), None)
    jobs.fails = "size=8"
    assert searched(tmp_path, A_FEW_PROBES) == 1
    told = capsys.readouterr().out
    assert "no formula told what to expect; measured: no rate is confirmed" in told
    assert "max_batch_size=8: the job refused its flags; the end of its log: no such model" in told


def test_without_a_flag_nothing_is_tried(
    queue: Queue, jobs: Jobs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The queue's answers look like slow decoding, which no flag changes."""
    assert searched(tmp_path, A_FEW_PROBES) == 1
    assert jobs.started == ["--max_batch_size=4"]
    captured = capsys.readouterr()
    assert "--try: the change to try first is made by no flag: make decoding faster" in captured.err
    assert "tried" not in captured.out


def test_without_a_limit_nothing_is_tried(
    queue: Queue,
    jobs: Jobs,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    names(monkeypatch, (), None, "none")
    assert searched(tmp_path, A_FEW_PROBES) == 1
    assert "--try: nothing known limits the probe that failed" in capsys.readouterr().err


def test_no_probe_failed(
    queue: Queue, jobs: Jobs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    queue.late_from = 30.0
    assert searched(tmp_path) == 1
    assert "--try: no probe of this search failed" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (("--drivers=2",), "--drivers is no flag of a job on this machine: what to do"),
        (("--max_num_workers=4",), "--max_num_workers is no flag of a job on this machine"),
        (("--max_batch_size=1000000",), "the job refuses the change: --max_batch_size: '1000000' is not"),
    ],
)
def test_what_is_not_tried(flags: tuple[str, ...], reason: str) -> None:
    with pytest.raises(NothingToTryError, match=reason):
        to_try(Change(flags, "what to do"), JobFlags([], default_model="model.pt2"))


def test_a_job_elsewhere_is_not_restarted(capsys: pytest.CaptureFixture[str]) -> None:
    elsewhere = ["--project=my-project", "--input_topic=requests", "--output_subscription=results"]
    assert search_command([*elsewhere, "--try"]) == 2
    assert "--try: it restarts a job that runs here" in capsys.readouterr().err
