"""vCPUs and memory of machine types, as their names say."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

# GB of memory a vCPU, by family and kind: https://cloud.google.com/compute/docs/machine-resource
_MEMORY: Mapping[tuple[str, str], float] = {
    ("n1", "standard"): 3.75, ("n1", "highmem"): 6.5, ("n1", "highcpu"): 0.9,
    ("n2", "standard"): 4.0, ("n2", "highmem"): 8.0, ("n2", "highcpu"): 1.0,
    ("n2d", "standard"): 4.0, ("n2d", "highmem"): 8.0, ("n2d", "highcpu"): 1.0,
    ("e2", "standard"): 4.0, ("e2", "highmem"): 8.0, ("e2", "highcpu"): 1.0,
    ("c2", "standard"): 4.0, ("c2d", "standard"): 4.0, ("c2d", "highmem"): 8.0, ("c2d", "highcpu"): 2.0,
    ("c3", "standard"): 4.0, ("c3", "highmem"): 8.0, ("c3", "highcpu"): 2.0,
    ("g2", "standard"): 4.0,
}  # fmt: skip
# Machines whose name counts GPUs: vCPUs and GB for each.
_BY_GPU: Mapping[str, tuple[int, float]] = {
    "a2-highgpu": (12, 85.0),
    "a2-ultragpu": (12, 170.0),
    "a3-highgpu": (26, 234.0),
}


@dataclass(frozen=True)
class Machine:
    """What a machine type has.

    Attributes:
        name: The machine type.
        vcpus: Virtual CPUs.
        memory_gb: GB.
    """

    name: str
    vcpus: int
    memory_gb: float

    @property
    def family(self) -> str:
        """Such as n1."""
        return self.name.split("-")[0]


def machine(name: str) -> Machine:
    """Return what a machine type has.

    Raises:
        ValueError: Its name does not say so, as far as we know.
    """
    if found := re.fullmatch(r"(a[23]-\w+gpu)-(\d+)g", name):
        vcpus, memory = _BY_GPU.get(found[1], (0, 0.0))
        if vcpus:
            return Machine(name, vcpus * int(found[2]), memory * int(found[2]))
    if found := re.fullmatch(r"(\w+)-(standard|highmem|highcpu)-(\d+)", name):
        memory = _MEMORY.get((found[1], found[2]), 0.0)
        if memory:
            return Machine(name, int(found[3]), memory * int(found[3]))
    if found := re.fullmatch(r"(?:(\w+)-)?custom-(\d+)-(\d+)(?:-ext)?", name):
        return Machine(name, int(found[2]), int(found[3]) / 1024)
    families = ", ".join(sorted({family for family, _ in _MEMORY}))
    raise ValueError(
        f"vCPUs and memory of {name} are not known: take a standard, highmem or highcpu machine of "
        f"{families}, an a2 or a3 with GPUs, or custom-VCPUS-MEGABYTES"
    )
