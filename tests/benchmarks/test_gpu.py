"""`python -m benchmarks.gpu` without a GPU: its rehearsal, its report, and what becomes of failing parts."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import orjson
import pytest
import torch

from benchmarks.gpu import __main__ as command
from benchmarks.gpu import mps, report, wheels
from benchmarks.gpu.child import run_child
from benchmarks.gpu.context import NO_TIME, Context, NotAvailableError, Row
from benchmarks.gpu.drive import _TOGETHER_WITHIN_S, drive
from benchmarks.gpu.goals import verdicts
from benchmarks.gpu.nvml import Reading, Sampler, open_nvml
from benchmarks.gpu.options import job_options
from benchmarks.gpu.parts import against_stock, copies, cores, cuda_tests, memory, processes, swap, waiting
from benchmarks.gpu.parts.cuda_tests import TESTS
from benchmarks.gpu.plan import PARTS
from benchmarks.gpu.process import main as process
from benchmarks.gpu.sides import Answered, Send, Side
from benchmarks.gpu.status import NOT_AVAILABLE_CODE, Outcome, Status, outcome
from benchmarks.gpu.workload import REHEARSAL
from benchmarks.harness.verdict import figures
from pipeline.model.model import Model
from pipeline.model.outputs import OutputRows
from pipeline.request.input_spec import Inputs
from tests.benchmarks.conftest import UsageError
from tests.waiting import LIMIT_S, TIME_SCALE, wait_until

no_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")


@pytest.fixture
def context(tmp_path: Path) -> Iterator[Context]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield Context(REHEARSAL, False, tmp_path, time.monotonic() + 2)
    torch.set_num_threads(threads)


@no_gpu
def test_without_a_gpu_it_says_what_can_be_done(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command.main([])
    assert ended.value.code == 2
    assert "--rehearse" in capsys.readouterr().err


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


def test_a_batch_that_memory_has_no_room_for(context: Context) -> None:
    whole, first, following = memory.measure(context)
    assert (whole["passes"], whole["largest_pass"]) == (1, 128)
    for row in (first, following):
        assert (row["passes"], row["largest_pass"]) == (4, 32)
        assert (row["answers"], row["failed_rows"], row["cut"]) == ("equal", 0, "yes")


def test_memory_that_did_not_run_out_is_not_said_to_have(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory._Cramped, "run", Model.run)
    _, first, following = memory.measure(context)
    assert {row["cut"] for row in (first, following)} == {"no, memory did not run out"}


def test_rows_that_memory_has_no_room_for_are_a_difference(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(model: Model, inputs: list[Inputs], rows: int) -> OutputRows:
        raise ValueError("no")

    monkeypatch.setattr(memory._Cramped, "run", run)
    _, first, following = memory.measure(context)
    for row in (first, following):
        assert (row["failed_rows"], row["answers"]) == (128, "DIFFERENT")


def test_copies_are_measured_alone_and_together(context: Context) -> None:
    *steps, _, two, _ = copies.measure(context)
    assert [str(step["step"])[:4] for step in steps[:3]] == ["put ", "copy", "forw"]
    assert two["step"] == "whole batches, 2 at once"
    assert isinstance(two["of_longest"], float)


def test_copies_without_time_are_measured_once(context: Context) -> None:
    rows = list(copies.measure(replace(context, ends_at=time.monotonic())))
    assert all(row["ms"] for row in rows)


def test_cells_without_time_say_so(context: Context) -> None:
    rows = list(against_stock.measure(replace(context, ends_at=time.monotonic())))
    scale = context.scale
    assert len(rows) == len(scale.precisions) * len(scale.threads) * len(scale.bundles) * 2
    assert {row["not_measured"] for row in rows} == {"no time was left"}
    assert {(row["threads"], row["bundle"], row["side"]) for row in rows} >= {(8, 4, "stock"), (1, 1, "ours")}


def test_a_thread_that_fails_does_not_keep_the_others_waiting() -> None:
    entered: list[int] = []

    @contextmanager
    def bundle_thread(inputs: Sequence[Inputs]) -> Iterator[Send]:
        entered.append(len(inputs))
        if len(entered) == 3:
            raise OSError("no more of them")
        yield lambda: Answered([], [1])

    begun = time.monotonic()
    with pytest.raises(OSError, match="no more of them"):
        drive(Side("ours", bundle_thread, lambda: None), [np.zeros(1, np.float32)] * 3, 3, 1, 0.1, 0.1)
    assert time.monotonic() - begun < 0.5 * _TOGETHER_WITHIN_S


def test_fewer_cores(context: Context) -> None:
    every = os.sched_getaffinity(0)
    try:
        rows = list(cores.measure(context))
    finally:
        os.sched_setaffinity(0, every)
    assert {row["cores"] for row in rows} == {len(every), *(n for n in (4, 2, 1) if n < len(every))}
    assert all(row["requests_per_s"] for row in rows)


def test_what_cannot_be_measured_says_why(context: Context) -> None:
    with pytest.raises(NotAvailableError, match="no GPU"):
        next(waiting.measure(context))


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


def test_a_part_that_hangs_leaves_nothing_running(tmp_path: Path) -> None:
    """It ends what it has started, and what it does not end is ended too."""
    code = f"""
import subprocess, time
from pathlib import Path
from benchmarks.gpu.child import exit_on_sigterm
exit_on_sigterm()
left = subprocess.Popen(["sleep", "1000"])
Path("{tmp_path}/left").write_text(str(left.pid))
try:
    time.sleep(1000)
finally:
    Path("{tmp_path}/ended").touch()
"""
    with (tmp_path / "log").open("wb") as log:
        # Time to start in.
        found = run_child([sys.executable, "-c", code], command.ROOT, log, 5 * TIME_SCALE)
    assert found is None, (tmp_path / "log").read_text()
    assert (tmp_path / "ended").exists()
    wait_until(lambda: not is_running(int((tmp_path / "left").read_text())))


def test_sigterm_ends_a_part_as_an_exception_does(tmp_path: Path) -> None:
    code = f"""
import runpy, sys, time
from pathlib import Path
from benchmarks.gpu.plan import PARTS, Part

def measure(context):
    try:
        yield {{"rate": 1.0}}
        time.sleep(1000)
    finally:
        Path("{tmp_path}/ended").touch()

PARTS["plain"] = Part("Plain", measure, 1)
sys.argv += ["plain", "--seconds=1", "--folder={tmp_path}"]
sys.argv += ["--rows={tmp_path}/rows", "--why-not={tmp_path}/why"]
runpy.run_module("benchmarks.gpu.process", run_name="__main__", alter_sys=True)
"""
    rows = tmp_path / "rows"
    rows.touch()
    with subprocess.Popen([sys.executable, "-c", code], cwd=command.ROOT) as part:
        wait_until(lambda: rows.read_text() or part.poll() is not None)
        part.terminate()
        assert part.wait(LIMIT_S) == 128 + signal.SIGTERM
    assert json.loads(rows.read_text()) == {"rate": 1.0}
    assert (tmp_path / "ended").exists()


def test_a_part_that_does_not_heed_sigterm_is_killed(tmp_path: Path) -> None:
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(1000)"
    with (tmp_path / "log").open("wb") as log:
        assert run_child([sys.executable, "-c", code], tmp_path, log, 2.0, stop_within_s=0.1) is None


def is_running(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    try:
        return stat.read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.fixture
def mps_daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in for MPS's control program; return the file that notes what it is told."""
    notes = tmp_path / "notes"
    program = tmp_path / "bin" / mps.PROGRAM
    program.parent.mkdir()
    program.write_text(f"""#!/bin/sh
[ "$1" = -d ] && echo start >> {notes} && exit
[ -e "$CUDA_MPS_PIPE_DIRECTORY/hangs" ] && exec sleep 1000
cat >> {notes}
""")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    return notes


def test_the_daemon_of_mps_is_ended_by_the_command_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mps_daemon: Path
) -> None:
    def killed(line: list[str], *others: object) -> None:
        (own,) = (Path(flag.removeprefix("--folder=")) for flag in line if flag.startswith("--folder="))
        mps.start(mps.folder_of(own))

    monkeypatch.setattr(command, "run_child", killed)
    assert command.main(["--rehearse", "--parts=processes", f"--out={tmp_path}"]) == 1
    assert mps_daemon.read_text().split() == ["start", "quit"]


def test_a_daemon_of_mps_that_does_not_answer_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mps_daemon: Path
) -> None:
    monkeypatch.setattr(mps, "_QUIT_WITHIN_S", 0.1)
    folder = mps.folder_of(tmp_path)
    mps.start(folder)
    (folder / "hangs").touch()
    mps.stop(folder)  # there is no daemon
    with subprocess.Popen(["sleep", "1000"]) as daemon:
        (folder / "nvidia-cuda-mps-control.pid").write_text(f"{daemon.pid}\n")
        mps.stop(folder)
        assert daemon.wait(LIMIT_S) == -signal.SIGKILL


def test_workers_do_not_outlive_the_part(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "GRACE_S", 0.0)
    with pytest.raises(TimeoutError, match="its time was up"):
        next(processes.measure(replace(context, ends_at=time.monotonic() + 0.1)))


def test_processes_without_time_say_so(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "GRACE_S", 2 * LIMIT_S)
    one, several, by_mps = processes.measure(replace(context, ends_at=time.monotonic()))
    assert float(str(one["requests_per_s"])) > 0
    assert several == {"processes": "2 processes", **NO_TIME}
    assert by_mps == {"processes": "2 processes, MPS", **NO_TIME}


def write_tests(folder: Path, hangs: str) -> Path:
    tests = folder / "tests"
    tests.mkdir()
    (tests / "test_it.py").write_text(f"""
import os, time
import pytest

def test_good():
    pass

def test_bad():
    assert 1 + 1 == 3

@pytest.mark.skip(reason="not here")
def test_skipped():
    pass

@pytest.fixture
def broken():
    yield
    raise OSError("at the end")

def test_broken(broken):
    pass

def test_hangs():
    {hangs}

def test_never():
    pass
""")
    return tests


@pytest.mark.parametrize(
    ("hangs", "problem"),
    [("time.sleep(1000)", "the tests took too long: .*test_hangs"), ("os._exit(9)", "pytest ended with 9")],
)
def test_tests_before_one_that_hangs_or_crashes_are_kept(
    context: Context, tmp_path: Path, hangs: str, problem: str
) -> None:
    # For pytest to start in, on a busy machine too.
    context = replace(context, ends_at=time.monotonic() + 8 * TIME_SCALE)
    rows: list[Row] = []
    with pytest.raises(RuntimeError, match=f"(?s){problem}"):
        rows.extend(cuda_tests.run_tests(write_tests(tmp_path, hangs), context))
    assert [(row["test"], row["outcome"], row["reason"]) for row in rows] == [
        ("test_it.py::test_good", "passed", ""),
        ("test_it.py::test_bad", "failed", "assert (1 + 1) == 3"),
        ("test_it.py::test_skipped", "skipped", "not here"),
        ("test_it.py::test_broken", "failed", "OSError: at the end"),
    ]


def test_no_pytest_is_no_failure(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(NotAvailableError, match="pytest is not installed"):
        next(cuda_tests.measure(context))


def bundle(begun: float, ended: float, version: str | None = "v1", right: bool = True) -> swap.Sent:
    return swap.Sent(begun, ended, version, right)


def test_only_swaps_that_were_seen_count() -> None:
    warm_up = [bundle(0, 9)] * (12 * 20)
    sent = [*warm_up, bundle(10, 11), bundle(20, 23, "v2"), bundle(30, 31, None, right=False)]
    tried = [swap.Swap(19, 22, seen=True), swap.Swap(29, 89, seen=False)]
    between, during, in_all = swap.summary(sent, tried, 3)
    assert (between["requests"], between["p99_ms"]) == (1, 1000)
    assert (during["requests"], during["p99_ms"]) == (2, 3000)
    assert (in_all["requests"], in_all["wrong"]) == (243, 1)
    assert (in_all["swaps"], in_all["swaps_not_seen"], in_all["swaps_not_tried"]) == (1, 1, 1)
    assert in_all["swap_s"] == 3


def row(side: str, rate: float) -> dict[str, object]:
    return {"precision": "fp16", "bundle": 1, "threads": 48, "side": side, "requests_per_s": rate}


def test_goals() -> None:
    """Those of the parts that were run, measured or not."""
    skipped = {"precision": "bf16", "bundle": 1, "threads": 48, "side": "ours", **NO_TIME}
    parts = {
        "against_stock": {"rows": [row("stock", 100.0), row("ours", 600.0), skipped]},
        "plain": {"rows": [{"precision": "fp16", "batch": 8, "ms": 1.0, "rate": 1000.0}]},
        "copies": {
            "rows": [
                {"step": "forward pass", "ms": 1.0},
                {"step": "whole batches, 1 at once", "of_longest": 2.0},
                {"step": "whole batches, 2 at once", "of_longest": 1.3},
                {"step": "whole batches, 3 at once", "of_longest": 0.6},
            ]
        },
    }
    found = verdicts(parts)
    assert [(round(each.value, 3), each.met) for each in found if each.met is not None] == [
        (6.0, True),
        (0.6, False),
        (1.3, False),
    ]
    not_measured = [each for each in found if each.met is None]
    assert len(not_measured) == 2 + 4  # bundles of 4, and all of bf16
    assert str(not_measured[0]) == (
        "rate, fp16, 48 threads, bundles of 4, ours / stock: not measured (goal: at least 5)"
    )
    assert {each["value"] for each in json.loads(orjson.dumps(figures(not_measured)))} == {None}
    assert verdicts({"waiting": {"rows": []}}) == []
    assert [each.met for each in verdicts({"copies": {"rows": []}})] == [None]


def test_the_report() -> None:
    part = {
        "title": "Plain forward passes",
        "status": "failed",
        "reason": "exit code 1",
        "seconds": 3.0,
        "rows": [{"batch": 1, "rate": 1234.5}, {"batch": 128, "rate": 9.876}],
        "nvml": {"power_w_mean": 92.4, "sm_utilization_percent_mean": "not available: no GPM"},
    }
    tests = {
        **part,
        "title": "CUDA tests",
        "rows": [
            {"test": "a", "outcome": "passed", "reason": "", "seconds": 0.1},
            {"test": "b", "outcome": "passed", "reason": "", "seconds": 0.1},
            {"test": "c", "outcome": "failed", "reason": "AssertionError", "seconds": 0.1},
        ],
    }
    run = {"title": "A title", "machine": {"device": "NVIDIA L4"}, "parts": {"plain": part, "tests": tests}}
    lines = report.text(run, []).splitlines()
    assert "Plain forward passes: failed, 3 s: exit code 1" in lines
    assert "  batch   rate" in lines
    assert "      1  1,234" in lines
    assert "    128   9.88" in lines
    assert {"2 passed", "1 failed: AssertionError", "device NVIDIA L4"} <= set(lines)
    assert any("power_w_mean 92.4" in line for line in lines)
    assert max(map(len, lines)) <= 110


@no_gpu
def test_nvml_that_is_not_there_is_a_reason_and_not_a_zero() -> None:
    library, why = open_nvml()
    assert library is None
    sampler = Sampler("GPU-1")
    assert why.startswith("not available: ")
    assert sampled(sampler) == {"nvml": why}
    assert sampler.driver() == why


class NvmlError(Exception):
    pass


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Stand in for an nvidia-ml-py that is so old that it has next to nothing."""
    library = ModuleType("pynvml")
    vars(library).update(NVMLError=NvmlError, nvmlInit=lambda: None, nvmlDeviceGetHandleByUUID=str)
    monkeypatch.setitem(sys.modules, "pynvml", library)
    return library


def sampled(sampler: Sampler) -> Reading:
    with sampler.sampling() as readings:
        return readings()


def test_an_old_nvml_ends_nothing(nvml: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.gpu.nvml._EVERY_S", 0.001)
    vars(nvml).update(nvmlDeviceGetPowerUsage=lambda device: 92_000)
    sampler = Sampler("GPU-1")
    with sampler.sampling() as readings:
        wait_until(lambda: {"power_w_mean", "sm_occupancy_percent"} <= readings().keys())
        found = readings()
    assert found["power_w_mean"] == 92
    assert str(found["sm_occupancy_percent"]).startswith("not available: ")
    assert "nvmlSystemGetDriverVersion" in sampler.driver()


def test_nvml_is_asked_for_the_gpu_that_computes(nvml: ModuleType) -> None:
    def handle(uuid: str) -> None:
        raise NvmlError("Not Found")

    vars(nvml).update(nvmlDeviceGetHandleByUUID=handle)
    assert sampled(Sampler("GPU-1")) == {"nvml": "not available: GPU-1: Not Found"}
    assert sampled(Sampler(None)) == {"nvml": "not available: nothing is computed on a GPU"}


def test_options_are_those_of_the_job() -> None:
    options = job_options({"max_batch_size": "7", "device": "gpu"})
    assert (options.max_batch_size, options.device, options.max_batch_wait_ms) == (7, "gpu", 1.0)
    with pytest.raises(ValueError, match="neither true nor false"):
        job_options({"compile": "yes"})


def test_wheels_are_those_of_the_lock_but_what_a_gpu_machine_has() -> None:
    pinned = wheels.requirements()
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==\S+", line) for line in pinned)
    names = {line.partition("==")[0] for line in pinned}
    assert {"apache-beam", "orjson", "pytest"} <= names
    assert not {"torch", "numpy", "pyarrow"} & names
    line = wheels.command("3.12", Path("out"))
    assert {"--no-deps", "--only-binary=:all:", "--python-version=3.12"} <= set(line)


def test_wheels_of_others_are_left_alone(tmp_path: Path, usage_error: UsageError) -> None:
    mine = tmp_path / "mine.whl"
    mine.touch()
    assert "is not empty" in usage_error(wheels.main, f"--out={tmp_path}")
    assert "is not a folder" in usage_error(wheels.main, f"--out={mine}")
    assert mine.exists()


def test_the_parts_need_neither_beam_nor_what_a_bare_machine_lacks() -> None:
    """In a process in which importing any of it fails."""
    code = """
import sys
for name in ("apache_beam", "aiohttp", "rich", "google.cloud", "grpc", "fastapi", "pynvml"):
    sys.modules[name] = None
import benchmarks.gpu.__main__, benchmarks.gpu.parts.worker, benchmarks.gpu.process, benchmarks.gpu.wheels
"""
    subprocess.run([sys.executable, "-c", code], cwd=command.ROOT, check=True, timeout=LIMIT_S)


def test_the_cuda_tests_are_collected_in_a_bare_checkout(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    code = f"""
import sys
for name in ("apache_beam", "aiohttp", "rich", "google.cloud", "grpc", "fastapi"):
    sys.modules[name] = None
import pytest
sys.exit(pytest.main(["-q", "--collect-only", "-p", "no:cacheprovider", "--config-file={tmp_path}/pytest.ini",
    "--rootdir={TESTS}", "--confcutdir={TESTS}", "{TESTS}"]))
"""
    ended = subprocess.run(
        [sys.executable, "-c", code],
        cwd=command.ROOT,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "test_staging.py" in ended.stdout
