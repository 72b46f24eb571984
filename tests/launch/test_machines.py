"""Which GPU goes with which machine."""

from __future__ import annotations

import pytest

from launch.settings import machines
from launch.settings.machines import Gpu


def test_a_gpu_is_a_type_and_a_count() -> None:
    assert machines.parse_gpu("nvidia-l4:2") == Gpu("nvidia-l4", 2)
    assert machines.parse_gpu("nvidia-l4") == Gpu("nvidia-l4", 1)
    assert str(Gpu("nvidia-l4", 2)) == "nvidia-l4:2"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("nvidia-l4:", "not TYPE:COUNT"),
        ("L4:1", "not TYPE:COUNT"),
        ("l4:1", "not one of"),
        ("nvidia-l4:3", "no machine has 3 nvidia-l4; possible: 1, 2, 4, 8"),
        ("nvidia-tesla-t4:8", "possible: 1, 2, 4"),
        ("nvidia-h100-mega-80gb:1", "possible: 8"),
    ],
)
def test_a_gpu_that_there_is_not(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        machines.parse_gpu(text)


@pytest.mark.parametrize(
    ("gpu", "machine"),
    [
        ("nvidia-l4:1", "g2-standard-4"),
        ("nvidia-l4:2", "g2-standard-24"),
        ("nvidia-tesla-a100:1", "a2-highgpu-1g"),
        ("nvidia-a100-80gb:4", "a2-ultragpu-4g"),
        ("nvidia-h100-80gb:8", "a3-highgpu-8g"),
        ("nvidia-tesla-t4:1", "n1-standard-4"),
    ],
)
def test_the_default_machine_fits(gpu: str, machine: str) -> None:
    parsed = machines.parse_gpu(gpu)
    assert machines.default_machine(parsed) == machine
    assert machines.misfit(machine, parsed) is None


@pytest.mark.parametrize("name", machines.GPU_TYPES)
def test_each_gpu_fits_its_default_machine(name: str) -> None:
    counts = [count for count in range(1, 17) if _is_offered(f"{name}:{count}")]
    assert counts
    for count in counts:
        gpu = Gpu(name, count)
        assert machines.misfit(machines.default_machine(gpu), gpu) is None


def _is_offered(text: str) -> bool:
    try:
        machines.parse_gpu(text)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize(
    ("machine", "gpu", "reason"),
    [
        (
            "n1-standard-4",
            "nvidia-l4:1",
            "found on G2 machines only, not on n1-standard-4: take g2-standard-4",
        ),
        ("g2-standard-24", "nvidia-l4:1", "g2-standard-24 has 2 × nvidia-l4, not 1 × nvidia-l4"),
        ("g2-standard-5", "nvidia-l4:1", "there is no machine type g2-standard-5"),
        ("n1-standard-8", "nvidia-tesla-a100:1", "found on A2 machines only"),
        ("a2-ultragpu-1g", "nvidia-tesla-a100:1", "a2-ultragpu-1g has 1 × nvidia-a100-80gb"),
        ("a2-highgpu-1g", "nvidia-h100-80gb:1", "found on A3 machines only"),
        ("g2-standard-4", "nvidia-tesla-t4:1", "found on N1 machines only"),
        ("e2-standard-4", "nvidia-tesla-p4:1", "found on N1 machines only"),
        ("n1-standard-16", "nvidia-tesla-v100:1", "at most 12 vCPUs, n1-standard-16 has 16"),
        ("n1-standard-32", "nvidia-tesla-p100:1", "at most 16 vCPUs"),
    ],
)
def test_a_misfit_says_which_machine_fits(machine: str, gpu: str, reason: str) -> None:
    assert reason in (machines.misfit(machine, machines.parse_gpu(gpu)) or "")


@pytest.mark.parametrize("gpu", machines.GPU_TYPES)
def test_which_gpus_the_projects_own_image_runs_on(gpu: str) -> None:
    """CUDA 13, which its torch is for, has no kernels for GPUs before Turing."""
    old = gpu in ("nvidia-tesla-p4", "nvidia-tesla-p100", "nvidia-tesla-v100")
    for build, runs in (("pypi", not old), ("cu130", not old), ("cu128", not old), ("cu126", True)):
        assert (machines.torch_misfit(Gpu(gpu, 1), build) is None) is runs, build


def test_machines_by_kind() -> None:
    assert machines.unknown_accelerator("a4-highgpu-8g")
    assert machines.unknown_accelerator("g4-standard-48")
    assert not machines.unknown_accelerator("a2-highgpu-1g")
    assert not machines.unknown_accelerator("n2d-standard-8")
    assert machines.built_in_gpu("g2-standard-4") == Gpu("nvidia-l4", 1)
    assert machines.built_in_gpu("n1-standard-4") is None
    assert machines.has_shared_core("e2-medium")
    assert not machines.has_shared_core("e2-standard-2")
    assert machines.is_arm("t2a-standard-1")
    assert not machines.is_arm("n1-standard-1")
