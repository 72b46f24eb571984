from __future__ import annotations

import pytest

from planner.cost.machines import machine


@pytest.mark.parametrize(
    ("name", "vcpus", "memory"),
    [
        ("n1-standard-4", 4, 15), ("n1-highmem-2", 2, 13), ("n2-standard-4", 4, 16),
        ("e2-highcpu-8", 8, 8),
        ("c2-standard-8", 8, 32), ("g2-standard-8", 8, 32), ("a2-highgpu-2g", 24, 170),
        ("a3-highgpu-8g", 208, 1_872),
        ("custom-6-20480", 6, 20), ("n2-custom-4-5120-ext", 4, 5),
    ],
)  # fmt: skip
def test_a_name_says_what_a_machine_has(name: str, vcpus: int, memory: float) -> None:
    assert (machine(name).vcpus, machine(name).memory_gb) == (vcpus, memory)


@pytest.mark.parametrize("name", ["e2-micro", "z9-standard-4", "a2-nogpu-1g", "big"])
def test_an_unknown_one_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"vCPUs and memory of {name} are not known: take a standard"):
        machine(name)
