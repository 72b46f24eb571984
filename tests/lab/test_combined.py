"""Job and endpoint together: made figures, the flags, and once the real thing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import orjson
import pytest

from lab import combined
from lab.__main__ import main
from lab.combined import combined_command, parse_combined
from lab.pages import write_page
from lab.report import report_command
from lab.sharing import Costs, Estimate, costs, limiting
from lab.together import Combined, sentences
from loadtest.bottleneck.diagnosis import Change, Diagnosis, Limit
from loadtest.raw_log import RawLog, Sample, Series
from loadtest.search import search_file
from loadtest.search.answer import Settings
from loadtest.search.objectives import Tier
from loadtest.search.probes import Breach, Observation
from loadtest.search.tiers import TiersSearch
from tests.loadtest.bottleneck.evidences import SLOW
from tests.loadtest.made_log import STARTED, Load, System, made_log

SECONDS, RATE = 40, 100.0
BOTH = Combined(
    Estimate(400.0, "1/s", 400.0, 420.0), Estimate(3000.0, "1/s", 3000.0, 3150.0), 16, "shared cores",
    ["cores in use: 1.90 of 2"],
    Costs(400.0, Estimate(2.0, "ms"), Estimate(1.0, "ms"), Estimate(2.0, "")),
    Estimate(7.5, "", 7.1, 7.9), 2, "",
)  # fmt: skip


def together(job_ms: float, container_ms: float) -> RawLog:
    """Return a run in which each message costs so much in either process, the seconds scattered by 5 %."""
    log = made_log(Load(rate=RATE, seconds=SECONDS))
    random = np.random.default_rng(1)
    at = STARTED + np.arange(SECONDS + 1.0)
    answered = np.histogram(log.messages.result_at, at)[0]
    samples = []
    for name, ms in (("job", job_ms), ("container", container_ms)):
        used = np.concatenate([[0.0], np.cumsum(answered * ms / 1e3 * random.normal(1, 0.05, SECONDS))])
        samples += [
            Sample(second, f"{name}/cpu_s", total)
            for second, total in zip(at.tolist(), used.tolist(), strict=True)
        ]
    series = {name: Series(name, "s", "process") for name in ("job/cpu_s", "container/cpu_s")}
    return replace(log, series=series, samples=tuple(samples))


def test_what_a_message_costs_each_is_found() -> None:
    found = costs(together(job_ms=3.0, container_ms=1.5), 5.0, SECONDS)
    assert found is not None
    for estimate, truth in ((found.job, 3.0), (found.container, 1.5), (found.ratio, 2.0)):
        assert estimate.value == pytest.approx(truth, rel=0.05)
        assert estimate.low is not None
        assert estimate.high is not None
        assert estimate.low < estimate.value < estimate.high < 1.1 * truth
    assert found.rate == pytest.approx(RATE, rel=0.1)


def test_without_a_container_there_are_no_costs() -> None:
    assert costs(made_log(Load(rate=RATE, seconds=SECONDS)), 5.0, SECONDS) is None


def test_a_short_window_says_nothing() -> None:
    assert costs(together(1.0, 1.0), 30.0, 35.0) is None


@pytest.mark.parametrize(
    ("limit", "job", "container", "expected"),
    [
        ("endpoint latency", 0.3, 0.9, "endpoint"),
        ("endpoint capacity (429)", 0.3, 0.9, "endpoint"),
        ("decode", 0.9, 0.2, "job"),
        ("endpoint latency", 0.7, 1.0, "shared cores"),
        ("none", 0.9, 0.9, "neither"),
    ],
)
def test_which_of_the_two_limits(limit: Limit, job: float, container: float, expected: str) -> None:
    seen = replace(
        SLOW, cpus=2, job_cores=job, container_cores=container, broker_cores=0.05, driver_cores=0.05
    )
    verdict, why = limiting(Diagnosis(limit, (), Change((), ""), None), seen)
    assert verdict == expected
    assert f"cores in use: {job + container + 0.1:.2f} of 2" in why[0]


def test_it_is_told_in_sentences() -> None:
    told = list(sentences(BOTH))
    assert (
        told[0]
        == "Together: 400 (400 to 420) requests/s, job, container, broker and driver on the 2 cores of this "
        "machine"
    )
    assert told[2] == "The cores that both share limit, and neither alone: cores in use: 1.90 of 2"
    assert "a core of replicas wants 2 cores of workers" in told[3]
    assert "one replica takes the requests of 7.5 (7.1 to 7.9) such workers" in told[4]


def test_its_folder_makes_the_page_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number, rate in enumerate((100.0, 600.0), start=1):
        folder = tmp_path / "job" / "probes" / f"{number:02d}"
        folder.mkdir(parents=True)
        made_log(Load(rate), System(largest_batch=2)).write(folder)
    search = TiersSearch([Tier.parse("p99<100ms")], Settings(start=100))
    for rate, margin in ((100.0, -1.0), (400.0, 1.0)):
        probe = search.next()
        assert probe is not None
        assert probe.rate == rate
        breach = Breach("p99", "p99<100ms", 0.3) if margin > 0 else None
        search.observe(probe, [Observation(rate, margin, 0.01, margin < 0, 6_000, True, 0.0, breach)])
    search_file.write(tmp_path / "job" / "search.json", search)
    (tmp_path / "combined.json").write_bytes(BOTH.to_json())
    assert Combined.read(tmp_path / "combined.json") == BOTH
    page = write_page(tmp_path).read_text()
    places = [page.index(text) for text in ("<h1", "limit, and neither alone.</h1>", "The search</h2>")]
    assert places == sorted(places)
    assert "<h2>What limits it at 600/s" in page
    assert report_command([str(tmp_path)]) == 0
    assert (tmp_path / "report.html").read_text() == page
    assert "job and endpoint together: found" in capsys.readouterr().out


def test_a_damaged_file_is_told_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "combined.json").write_text("{}")
    assert report_command([str(tmp_path)]) == 1
    assert "tells of no job and endpoint together" in capsys.readouterr().err


def test_both_get_the_flags_after_the_dashes(tmp_path: Path) -> None:
    line, problems = parse_combined(
        [f"--out={tmp_path}", "--tier=p99<80ms,lost=0,duplicates=0", "--", "--max_batch_size=16"]
    )
    assert line is not None, problems
    assert line.flags.inference_mode == "endpoint"
    assert "--max_batch_size=16" in line.flags.for_container()[1]
    assert str(line.endpoint.tier) == "p99<80ms,lost=0"  # an endpoint has no duplicates
    assert line.endpoint.out == tmp_path / "endpoint"


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--resume"], "--resume: both are measured in one go"),
        (["--", "--endpoint_url=http://h/p"], "leave them out after --"),
        (["--probe_s=1"], "--probe_s=1 must be at least 12"),
        (["--input_topic=t", "--project=p"], "leave out --input_topic"),
    ],
)
def test_wrong_flags(arguments: list[str], problem: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert combined_command(arguments) == 2
    assert problem in capsys.readouterr().err


@pytest.mark.slow
def test_the_real_thing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A budget of one probe: both ends early, and both leave what was measured."""
    # Each size and each number of connections is measured for so long; what comes of them is not asked here.
    monkeypatch.setattr(combined, "ALONE_FLAGS", ("--rows=1,4", "--connections=1,2", "--seconds=0.5"))
    flags = [f"--out={tmp_path}", "--start=50", "--probe_s=12", "--budget=4", "--tier=p50<1s,lost=0"]
    code = main(["combined", *flags, "--json"])
    told = capsys.readouterr()
    assert code == 1, told.err
    found = orjson.loads(told.out)
    assert found == orjson.loads((tmp_path / "combined.json").read_bytes())
    assert found["rows"] in (1, 4), told.err
    assert "raise --budget" in found["ended"]
    assert (tmp_path / "job" / "search.json").is_file()
    assert (tmp_path / "endpoint" / "endpoint.json").is_file()
