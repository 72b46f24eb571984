"""`./launch.sh loadtest endpoint` against a server of known truth."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lab.__main__ import main
from lab.endpoint import endpoint_command
from loadtest.raw_log import RawLog
from tests.integration.conftest import EXAMPLE
from tests.loadtest.endpoint.server import KnownEndpoint
from tests.waiting import LIMIT_S, TIME_SCALE, WARNINGS_ARE_ERRORS, wait_until


@pytest.fixture
def flags(endpoint: KnownEndpoint, records: Path, tmp_path: Path) -> list[str]:
    return [
        f"--endpoint_url={endpoint.url}", f"--input={records}", f"--out={tmp_path / 'out'}",
        "--input_shape=2", "--quiet",
        # Whether a busy machine keeps the schedule is no matter of these tests.
        f"--objective=p99<{100 * TIME_SCALE:g}s",
    ]  # fmt: skip


def found(tmp_path: Path) -> dict[str, object]:
    return json.loads((tmp_path / "out" / "endpoint.json").read_text())


def test_a_schedule(endpoint: KnownEndpoint, flags: list[str], tmp_path: Path,
                    capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    endpoint.script = [200] * 41 + [429] * 4
    code = endpoint_command([*flags, "--rate=100", "--duration=0.3", "--rows=1,4"])
    report = found(tmp_path)
    assert code == bool(report["invalid"])
    loads = report["loads"]
    assert isinstance(loads, list)
    assert [load["figures"]["rows"] for load in loads] == [1, 4]
    assert [load["figures"]["calls"] for load in loads] == [30, 30]
    assert [load["figures"]["failures"] for load in loads] == [{"429": 4}, {}]
    assert loads[0]["figures"]["latency_ms"]["max"] >= 30_000  # of a refusal, the time-out
    assert endpoint.rows == [1] * 71 + [4] * 30
    output = capsys.readouterr().out
    assert "constant --rate=100" in output
    assert "Failed, 429: 4; the first: 429 scripted" in output
    assert "Refusals asked to wait up to 2 s (Retry-After)" in output
    log = RawLog.read(tmp_path / "out" / "loads" / "schedule-1")
    assert len(log.messages) == 30
    assert int(np.isnan(log.messages.result_at).sum()) == 4  # a refusal is no answer
    assert log.facts.system["failures"] == "4 x 429"
    assert log.facts.schedule == "constant --rate=100"


def test_json_is_all_that_is_printed(
    flags: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    endpoint_command([*flags, "--rate=100", "--duration=0.1", "--json"])
    assert json.loads(capsys.readouterr().out) == found(tmp_path)


def test_raw_logs_of_an_earlier_run_go_and_other_files_stay(flags: list[str], tmp_path: Path) -> None:
    endpoint_command([*flags, "--rate=100", "--duration=0.1", "--rows=1,2"])
    mine = tmp_path / "out" / "loads" / "mine"
    mine.mkdir()
    endpoint_command([*flags, "--rate=100", "--duration=0.1", "--rows=1"])
    assert sorted(path.name for path in mine.parent.iterdir()) == ["mine", "schedule-1"]


def test_no_call_is_served(endpoint: KnownEndpoint, flags: list[str], tmp_path: Path,
                           capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    endpoint.script = [400]
    assert endpoint_command([*flags, "--rate=100", "--duration=0.1"]) == 1
    assert "loadtest: a first call was not served: 400 scripted" in capsys.readouterr().err
    assert not (tmp_path / "out" / "endpoint.json").exists()


def test_wrong_flags(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["endpoint", "--rows=none", "--colour=red"]) == 2
    errors = capsys.readouterr().err
    assert "--rows: 'none' is not a whole number" in errors
    assert "--colour" in errors


@pytest.mark.slow
def test_the_law_of_a_known_server_is_found(
    endpoint: KnownEndpoint, flags: list[str], tmp_path: Path
) -> None:
    """One worker that sleeps 10 ms and 2 ms a row. A busy machine adds to it, and nothing takes from it."""
    endpoint.a_s, endpoint.b_s = 0.010, 0.002
    endpoint_command(
        [*flags, "--rows=1,4,8", "--connections=1,2", "--seconds=0.5", "--probe_s=4", "--probe_max_s=4",
         "--budget=1", "--start=20", f"--endpoint_timeout_s={2 * TIME_SCALE:g}"]
    )  # fmt: skip
    report = found(tmp_path)
    sizes = report["sizes"]
    assert isinstance(sizes, list)
    assert [size["alone"]["rows"] for size in sizes] == [1, 4, 8]
    alone = [size["alone"]["p50_ms"] for size in sizes]
    for measured, slept in zip(alone, (12, 18, 26), strict=True):
        assert slept <= measured < 4 * TIME_SCALE * slept
    law = report["law"]
    assert isinstance(law, dict)
    assert alone == sorted(alone)
    assert 0.5 * 2 < law["b_ms"] < 4 * TIME_SCALE * 2
    rates = [size["throughput"]["rate"] for size in sizes]
    assert rates[0] > rates[-1]
    # It is the server that is searched, by calls of the best size, as far as the budget goes.
    search = report["degradation"]
    assert isinstance(search, dict)
    assert search["rows"] == (report["best"] or 8)
    assert len(search["probes"]) >= 1
    assert all(probe["figures"]["rows"] == search["rows"] for probe in search["probes"])
    # One worker: more connections wait longer, and bring no more.
    connections = report["connections"]
    assert isinstance(connections, list)
    assert connections[1]["p50_ms"] > connections[0]["p50_ms"]
    assert connections[1]["rate"] < 1.5 * connections[0]["rate"]


@pytest.mark.slow
def test_an_interrupt_leaves_what_was_measured(
    endpoint: KnownEndpoint, flags: list[str], tmp_path: Path
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "lab", "endpoint", *flags, "--rate=50", "--duration=1000"],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | WARNINGS_ARE_ERRORS,
    )
    wait_until(lambda: len(endpoint.rows) > 50)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 1
    assert "Partial: interrupted (SIGINT)" in output
    log = RawLog.read(tmp_path / "out" / "loads" / "schedule-1")
    assert log.facts.partial is not None
    assert log.facts.partial.startswith("interrupted (SIGINT) after ")
    assert 0 < len(log.messages) < 50_000
    assert not np.isnan(log.messages.result_at).any()


@pytest.mark.slow
def test_our_own_container(tmp_path: Path) -> None:
    """As a user does it: the container's address, the example's records, a table, and raw logs."""
    from loadtest.interrupt import Stop
    from local.container import Container

    container = Container(
        str(EXAMPLE), ["--workers=1"], tmp_path / "serving.log", on_failure=lambda name: None
    )
    try:
        url = container.predict_url(Stop())
        done = subprocess.run(
            [
                sys.executable, "-m", "lab", "endpoint", f"--endpoint_url={url}", "--rate=20",
                "--duration=2", "--rows=1,32", "--endpoint_protocol=raw",
                f"--input={EXAMPLE / 'records.jsonl'}", f"--out={tmp_path / 'out'}",
            ],
            capture_output=True, text=True, timeout=LIMIT_S,
        )  # fmt: skip
    finally:
        container.stop()
    report = found(tmp_path)
    loads = report["loads"]
    assert isinstance(loads, list), done.stderr
    assert [load["figures"]["served"] for load in loads] == [40, 40]
    assert done.returncode == bool(report["invalid"]), done.stderr
    assert "First call of all" in done.stdout
