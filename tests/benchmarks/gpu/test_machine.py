"""What the GPU benchmark needs of its machine: a GPU, NVML, and the packages of a bare checkout."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from benchmarks.gpu import __main__ as command
from benchmarks.gpu import wheels
from benchmarks.gpu.nvml import Reading, Sampler, open_nvml
from benchmarks.gpu.parts.cuda_tests import TESTS
from tests.benchmarks.conftest import UsageError
from tests.waiting import LIMIT_S, wait_until

no_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")


@no_gpu
def test_without_a_gpu_it_says_what_can_be_done(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command.main([])
    assert ended.value.code == 2
    assert "--rehearse" in capsys.readouterr().err


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


@pytest.mark.slow
def test_the_parts_need_neither_beam_nor_what_a_bare_machine_lacks() -> None:
    """In a process in which importing any of it fails."""
    code = """
import sys
for name in ("apache_beam", "aiohttp", "rich", "google.cloud", "grpc", "httptools", "uvloop", "pynvml"):
    sys.modules[name] = None
import benchmarks.gpu.__main__, benchmarks.gpu.parts.worker, benchmarks.gpu.process, benchmarks.gpu.wheels
"""
    subprocess.run([sys.executable, "-c", code], cwd=command.ROOT, check=True, timeout=LIMIT_S)


@pytest.mark.slow
def test_the_cuda_tests_are_collected_in_a_bare_checkout(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    code = f"""
import sys
for name in ("apache_beam", "aiohttp", "rich", "google.cloud", "grpc", "httptools", "uvloop"):
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
