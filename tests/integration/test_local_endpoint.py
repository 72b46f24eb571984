"""`python -m local` in endpoint mode and `--compare`, as a user starts them, with a real container."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from loadtest.bottleneck.job_log import WAITED
from loadtest.driver.errors import RunError
from loadtest.raw_log import RawLog
from local.container import Container
from tests.integration.conftest import MODEL, RECORDS, ROOT
from tests.integration.test_local import local
from tests.triton import require_triton
from tests.waiting import LIMIT_S, WARNINGS_ARE_ERRORS, wait_until

AUC = 0.954941


@pytest.fixture
def container(tmp_path: Path) -> Iterator[Container]:
    """Start a user's own container: its model has another name, so that results tell who answered."""
    (tmp_path / "mine.pt2").write_bytes(MODEL.read_bytes())
    flags = ["--model_file=mine.pt2"]
    own = Container(str(tmp_path), flags, tmp_path / "own.log", on_failure=lambda reason: None)
    yield own
    own.stop()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Return a function that starts `python -m local`, with its files in tmp_path/out."""
    started: list[subprocess.Popen[str]] = []

    def start_local(*arguments: str) -> subprocess.Popen[str]:
        environment = {k: v for k, v in os.environ.items() if k != "PUBSUB_EMULATOR_HOST"}
        process = subprocess.Popen(
            [sys.executable, "-m", "local", f"--out={tmp_path / 'out'}", *arguments],
            cwd=ROOT,
            env={**environment, **WARNINGS_ARE_ERRORS, "COLUMNS": "80"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start_local
    for process in started:
        if process.poll() is None:
            process.terminate()  # so that it ends what it started
            process.communicate(timeout=LIMIT_S)


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def assert_all_answered(summary: dict[str, Any], count: int) -> None:
    assert (summary["sent"], summary["received"]) == (count, count)
    assert (summary["duplicates"], summary["dead_lettered"], summary["lost"]) == (0, 0, 0)
    assert summary["auc"] == pytest.approx(AUC, abs=1e-6)


def results(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line)["result"] for line in (out / "results.jsonl").read_text().splitlines()]


def test_on_a_machine_with_a_proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All stays within the machine, so none of it goes there; nothing listens at this one."""
    for name in ("http_proxy", "https_proxy", "grpc_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
        monkeypatch.setenv(name.upper(), "http://127.0.0.1:9")
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
    run = local(tmp_path / "out", "--rate=50", "--duration=1", "--", "--inference_mode=endpoint")
    assert run.returncode == 0, run.stderr
    assert json.loads((tmp_path / "out/summary.json").read_text())["received"] == 50


def test_a_run_in_endpoint_mode(tmp_path: Path) -> None:
    # 355 records; each must come round once for a ROC AUC.
    run = local(tmp_path / "out", "--rate=120", "--duration=3", "--", "--inference_mode=endpoint")
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines()[-1] == f"ROC AUC {AUC}"
    assert "of it server" in run.stdout
    summary = read(tmp_path / "out/summary.json")
    assert_all_answered(summary, 360)
    stages = summary["stages_ms"]
    assert 0 < stages["server"]["p50"] <= stages["inference"]["p50"]
    for result in results(tmp_path / "out"):
        assert result["model_id"].startswith("model.pt2@")
        assert 0 < result["latency_ms"]["server"] <= result["latency_ms"]["inference"]
    assert "serving listening on 127.0.0.1:" in (tmp_path / "out/serving.log").read_text()
    # Known only once the job has stopped.
    (waited_s,) = RawLog.read(tmp_path / "out").values(WAITED)[1]
    assert waited_s > 0


def test_a_comparison(tmp_path: Path) -> None:
    out = tmp_path / "out"
    run = local(out, "--compare", "--rate=150", "--duration=3", "--schedule=poisson", "--seed=4")
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines()[-1] == f"ROC AUC {AUC} local, {AUC} endpoint"
    header = next(line for line in run.stdout.splitlines() if line.startswith("┃") and "local" in line)
    assert header.index("local") < header.index("endpoint")
    both = read(out / "compare.json")
    assert list(both) == ["local", "endpoint"]
    assert both["local"]["sent"] > 355
    for mode, summary in both.items():
        assert summary == read(out / mode / "summary.json")
        assert_all_answered(summary, both["local"]["sent"])  # the same schedule
    assert both["local"]["run"] != both["endpoint"]["run"]
    assert both["local"]["stages_ms"]["server"]["p50"] is None
    assert both["endpoint"]["stages_ms"]["server"]["p50"] > 0
    assert not (out / "local/serving.log").exists()
    assert (out / "endpoint/serving.log").exists()


def test_a_comparison_with_an_endpoint_of_the_users_own(container: Container, tmp_path: Path) -> None:
    url = container.predict_url(threading.Event())
    run = local(
        tmp_path / "out", "--compare", "--rate=120", "--duration=3", "--", f"--endpoint_url={url}"
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert_all_answered(read(tmp_path / "out/compare.json")["endpoint"], 360)
    assert not (tmp_path / "out/endpoint/serving.log").exists()
    assert {result["model_id"].split("@")[0] for result in results(tmp_path / "out/local")} == {"model.pt2"}
    assert {result["model_id"].split("@")[0] for result in results(tmp_path / "out/endpoint")} == {"mine.pt2"}
    assert container.stop() == 0
    assert container.failure is None


def test_a_comparison_with_triton(tmp_path: Path) -> None:
    require_triton()
    out = tmp_path / "out"
    run = local(out, "--compare", "--server=triton", "--rate=120", "--duration=3")
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines()[-1] == f"ROC AUC {AUC} local, {AUC} endpoint"
    for summary in read(out / "compare.json").values():
        assert_all_answered(summary, 360)
    assert {result["model_id"] for result in results(out / "endpoint")} == {"model/1"}
    assert (out / "endpoint/triton.log").exists()


def test_an_interrupted_comparison_shows_what_there_is(
    start: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    process = start("--compare", "--rate=100", "--duration=3600")
    collected = tmp_path / "out/local/results.jsonl"
    wait_until(lambda: collected.exists() and collected.stat().st_size)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 1
    assert "local: local mode: interrupted (SIGINT) after" in errors
    assert "local: endpoint mode: interrupted before it began" in errors
    assert output.splitlines()[-1].endswith(" local, none (not run) endpoint")
    both = read(tmp_path / "out/compare.json")
    assert both["local"]["sent"] == both["local"]["received"] > 0
    assert both["endpoint"] is None
    assert not (tmp_path / "out/endpoint").exists()


def test_a_container_that_dies_ends_the_run_and_is_named(
    start: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    process = start("--rate=50", "--duration=3600", "--", "--inference_mode=endpoint")
    collected = tmp_path / "out/results.jsonl"
    wait_until(lambda: collected.exists() and collected.stat().st_size)
    os.kill(child_of(process.pid, "-m serving"), signal.SIGKILL)
    output, errors = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 1
    assert "local: the endpoint container was killed (SIGKILL); the end of" in errors
    assert "serving.log" in errors
    assert "the endpoint container was killed (SIGKILL) after" in output
    assert read(tmp_path / "out/summary.json")["error"].startswith("the endpoint container was killed")


def child_of(parent: int, command: str) -> int:
    listing = subprocess.run(["ps", "-A", "-o", "pid=,ppid=,args="], capture_output=True, text=True).stdout
    found = []
    for line in listing.splitlines():
        pid, of, arguments = line.split(maxsplit=2)
        if int(of) == parent and command in arguments:
            found.append(int(pid))
    (child,) = found
    return child


def test_a_container_that_cannot_load_its_model_says_why(tmp_path: Path) -> None:
    run = local(
        tmp_path / "out", "--", "--inference_mode=endpoint", f"--model_path={RECORDS}"
    )  # fmt: skip
    assert run.returncode == 2
    assert "local: the endpoint container refused its flags, its model or a hook (exit code 2)" in run.stderr
    assert "records.jsonl" in run.stderr
    assert "ROC AUC" not in run.stdout


def test_an_interrupt_ends_the_wait_for_a_container(container: Container) -> None:
    interrupted = threading.Event()
    interrupted.set()
    with pytest.raises(RunError, match="interrupted while the endpoint container was starting"):
        container.predict_url(interrupted)
    assert container.failure is None
