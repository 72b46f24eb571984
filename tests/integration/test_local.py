"""`python -m local`, which `./launch.sh local` runs: everything, as a user starts it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import grpc
import pytest

from broker import EmbeddedBroker
from local.children import Job
from local.topics import Topics
from tests.integration.conftest import MODEL, ROOT, Mailbox
from tests.integration.test_faults import ids, send
from tests.pipeline.model.files.test_input_shape import export_named
from tests.waiting import LIMIT_S, WARNINGS_ARE_ERRORS, wait_until

WITHOUT_EMULATOR = {k: v for k, v in os.environ.items() if k != "PUBSUB_EMULATOR_HOST"}


def local(out: Path, *arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "local", f"--out={out}", *arguments],
        cwd=cwd,
        env={**WITHOUT_EMULATOR, **WARNINGS_ARE_ERRORS, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=2 * LIMIT_S,
    )


def test_a_run_from_another_folder(tmp_path: Path) -> None:
    run = local(Path("mine"), "--rate=150", "--duration=4", "--schedule=poisson", "--seed=3", cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines()[-1] == "ROC AUC 0.954941"

    summary = json.loads((tmp_path / "mine/summary.json").read_text())
    assert summary["auc"] == pytest.approx(0.954941, abs=1e-6)
    assert summary["sent"] == summary["received"] > 400
    assert (summary["duplicates"], summary["dead_lettered"], summary["lost"]) == (0, 0, 0)
    assert set(summary["stages_ms"]) == {"queue", "batch_wait", "inference", "server", "rest"}
    assert summary["stages_ms"]["server"] == {"p50": None, "p99": None}
    assert "server" not in run.stdout
    assert set(summary["latency_ms"]) == {"p50", "p90", "p95", "p99", "p99_9", "max"}
    assert summary["latency_ms"]["p50"] > 0
    lines = (tmp_path / "mine/results.jsonl").read_text().splitlines()
    assert len(lines) == summary["sent"]
    first = json.loads(lines[0])["result"]
    assert first["model_id"].startswith("model.pt2@")
    assert {"record_id", "label"} == set(first["passthrough"])
    assert (tmp_path / "mine/dead_letters.jsonl").read_text() == ""
    assert "stopped cleanly" in (tmp_path / "mine/pipeline.log").read_text()
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "mine").iterdir()}
    assert modes == dict.fromkeys(modes, 0o600)
    assert {"results.jsonl", "summary.json", "pipeline.log", "broker.log"} <= set(modes)
    assert (tmp_path / "mine").stat().st_mode & 0o777 == 0o700


def test_bad_records_are_dead_letters_and_not_lost(tmp_path: Path) -> None:
    records = [{"features": [1.0] * 30}, {"features": [1.0] * 29}]
    (tmp_path / "mixed.jsonl").write_text("\n".join(map(json.dumps, records)))
    run = local(tmp_path / "out", f"--input={tmp_path / 'mixed.jsonl'}", "--rate=50", "--duration=1")
    assert run.returncode == 0, run.stderr
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    assert (summary["received"], summary["dead_lettered"], summary["lost"]) == (25, 25, 0)
    assert "50 requests: 25 with a result, 25 as dead letters" in run.stdout
    assert "25 × decode: features: expected 30 numbers, got 29" in run.stdout
    assert f"{tmp_path}/out/dead_letters.jsonl" in run.stdout
    assert "ROC AUC" not in run.stdout
    letters = [json.loads(line) for line in (tmp_path / "out/dead_letters.jsonl").read_text().splitlines()]
    assert {letter["attributes"]["error_message"] for letter in letters} == {
        "features: expected 30 numbers, got 29"
    }


def test_one_request_by_hand(tmp_path: Path) -> None:
    export_named(tmp_path / "m.pt2")
    run = subprocess.run(
        [sys.executable, "-m", "local.send", "--random", "--count=2", "--", f"--model-path={tmp_path}/m.pt2"],
        cwd=ROOT,
        env={**WITHOUT_EMULATOR, **WARNINGS_ARE_ERRORS, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=2 * LIMIT_S,
    )
    assert run.returncode == 0, run.stderr
    results = [json.loads(line) for line in run.stdout.splitlines()]
    assert [result["model_id"].partition("@")[0] for result in results] == ["m.pt2", "m.pt2"]


def test_an_endpoint_that_cannot_be_reached_is_told_of_while_waiting(tmp_path: Path) -> None:
    run = subprocess.Popen(
        [
            *(sys.executable, "-m", "local", f"--out={tmp_path / 'out'}", "--rate=20", "--duration=1", "--"),
            *("--inference_mode=endpoint", "--endpoint_url=http://127.0.0.1:9/predict"),
            "--endpoint_deadline_s=1",
        ],
        cwd=ROOT,
        env={**WITHOUT_EMULATOR, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert run.stdout is not None
    lines: list[str] = []
    try:
        for line in run.stdout:
            lines.append(line)
            if "started again" in line:
                break
    finally:
        run.terminate()
        _, errors = run.communicate(timeout=LIMIT_S)
    said = "the job's log says: http://127.0.0.1:9/predict: nothing listens at 127.0.0.1:9"
    assert any(said in line for line in lines)
    assert "the job was started again once; its log says: http://127.0.0.1:9/predict" in lines[-1]
    assert run.returncode == 1
    assert "interrupted (SIGTERM) before the first message was sent" in errors


def test_a_run_without_a_result_fails(tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl").write_text('{"features": [1]}')
    run = local(tmp_path / "out", f"--input={tmp_path / 'bad.jsonl'}", "--rate=20", "--duration=1")
    assert run.returncode == 1
    assert "20 × decode: features: expected 30 numbers, got 1" in run.stdout
    assert "no request has a result" in run.stderr


def test_a_job_that_is_killed_is_named(tmp_path: Path) -> None:
    flags = ["--rate=20", "--duration=3600", "--", "--inference_mode=local"]
    run = subprocess.Popen(
        [sys.executable, "-m", "local", f"--out={tmp_path / 'out'}", *flags],
        cwd=ROOT,
        env={**WITHOUT_EMULATOR, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    results = tmp_path / "out/results.jsonl"
    wait_until(lambda: results.is_file() and results.stat().st_size > 0)
    (job,) = [pid for pid in children_of(run.pid) if "pipeline" in command_of(pid)]
    os.kill(job, signal.SIGKILL)
    output, errors = run.communicate(timeout=LIMIT_S)
    assert run.returncode == 1
    error = json.loads((tmp_path / "out/summary.json").read_text())["error"]
    assert error.startswith("the job was killed (SIGKILL) after")
    assert error in output
    assert "the job was killed (SIGKILL); the end of" in errors


def children_of(pid: int) -> list[int]:
    return [int(text) for text in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def command_of(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/cmdline").read_text().split("\0")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--rate=0", "--schedule=square"], ["--rate", "--schedule"]),
        (
            ["--max_batch_size=5"],
            ["--max_batch_size: there is no such flag; see --help; flags of the job come after --"],
        ),
        (
            ["--", "--max_batch_size=0", "--wrong=1"],
            ["--wrong: there is no such flag", "--max_batch_size: '0'"],
        ),
    ],
)
def test_wrong_flags(arguments: Sequence[str], expected: list[str], tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    earlier = {"results.jsonl": "results", "dead_letters.jsonl": "", "summary.json": "{}"}
    for name, text in earlier.items():
        (tmp_path / "out" / name).write_text(text)
    run = local(tmp_path / "out", *arguments)
    assert {name: (tmp_path / "out" / name).read_text() for name in earlier} == earlier
    assert run.returncode == 2
    assert "ROC AUC" not in run.stdout
    for text in expected:
        assert text in run.stderr


@pytest.mark.parametrize("pubsub", ["embedded"], indirect=True)
def test_the_job_is_started_again_after_exit_code_3(
    embedded: EmbeddedBroker, topics: Topics, tmp_path: Path
) -> None:
    send(topics, 10)
    embedded.faults.fail("Publish", grpc.StatusCode.UNAVAILABLE, times=1_000_000)
    failures: list[str] = []
    job = Job(
        [*topics.job_arguments(), f"--model_path={MODEL}", "--publish_deadline_s=0.5"],
        tmp_path / "job.log",
        on_failure=failures.append,
    )
    wait_until(lambda: job.restarts == 1)
    embedded.faults.clear()
    assert ids(Mailbox(topics.output_subscription).collect(10)) == {f"r-{n}" for n in range(10)}
    assert job.stop() == 0
    assert failures == []
    assert job.failure is None


@pytest.mark.parametrize("pubsub", ["embedded"], indirect=True)
def test_a_job_that_fails_otherwise_is_not(topics: Topics, tmp_path: Path) -> None:
    failed: list[str] = []
    job = Job(
        [*topics.job_arguments(), "--model_path=gone"],
        tmp_path / "job.log",
        on_failure=failed.append,
    )
    wait_until(lambda: bool(failed))
    assert job.failure is not None
    assert job.failure.exit_code == 2
    assert "there is no file 'gone'" in str(job.failure)
    assert failed == ["the job refused its flags, its model or a hook (exit code 2)"]
    assert job.restarts == 0
    job.stop()
