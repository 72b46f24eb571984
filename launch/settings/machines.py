"""Which machine types of Compute Engine take which GPUs, for Dataflow workers and endpoint replicas alike.

Sources: https://cloud.google.com/compute/docs/gpus (GPU models, counts, most vCPUs of N1),
https://cloud.google.com/compute/docs/accelerator-optimized-machines (G2, A2, A3) and
https://cloud.google.com/compute/docs/general-purpose-machines (shared cores, Arm). On which GPUs torch runs:
https://github.com/pytorch/pytorch/blob/main/RELEASE.md (its table of CUDA versions and architectures).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

# Machines with GPUs built in: type → (GPU, count). For each GPU, the smallest machine first.
_BUILT_IN: Mapping[str, tuple[str, int]] = {
    "g2-standard-4": ("nvidia-l4", 1),
    "g2-standard-8": ("nvidia-l4", 1),
    "g2-standard-12": ("nvidia-l4", 1),
    "g2-standard-16": ("nvidia-l4", 1),
    "g2-standard-32": ("nvidia-l4", 1),
    "g2-standard-24": ("nvidia-l4", 2),
    "g2-standard-48": ("nvidia-l4", 4),
    "g2-standard-96": ("nvidia-l4", 8),
    "a2-highgpu-1g": ("nvidia-tesla-a100", 1),
    "a2-highgpu-2g": ("nvidia-tesla-a100", 2),
    "a2-highgpu-4g": ("nvidia-tesla-a100", 4),
    "a2-highgpu-8g": ("nvidia-tesla-a100", 8),
    "a2-megagpu-16g": ("nvidia-tesla-a100", 16),
    "a2-ultragpu-1g": ("nvidia-a100-80gb", 1),
    "a2-ultragpu-2g": ("nvidia-a100-80gb", 2),
    "a2-ultragpu-4g": ("nvidia-a100-80gb", 4),
    "a2-ultragpu-8g": ("nvidia-a100-80gb", 8),
    "a3-highgpu-1g": ("nvidia-h100-80gb", 1),
    "a3-highgpu-2g": ("nvidia-h100-80gb", 2),
    "a3-highgpu-4g": ("nvidia-h100-80gb", 4),
    "a3-highgpu-8g": ("nvidia-h100-80gb", 8),
    "a3-edgegpu-8g": ("nvidia-h100-80gb", 8),
    "a3-megagpu-8g": ("nvidia-h100-mega-80gb", 8),
}
# GPUs that can be attached to N1 machines: GPU → count → most vCPUs of the machine.
_ON_N1: Mapping[str, Mapping[int, int]] = {
    "nvidia-tesla-t4": {1: 48, 2: 48, 4: 96},
    "nvidia-tesla-p4": {1: 24, 2: 48, 4: 96},
    "nvidia-tesla-v100": {1: 12, 2: 24, 4: 48, 8: 96},
    "nvidia-tesla-p100": {1: 16, 2: 32, 4: 96},
}
# GPUs before Turing: the newest CUDA, 126 for 12.6, whose build of torch has kernels for them.
_OLD_GPUS: Mapping[str, int] = {
    "nvidia-tesla-p4": 126,
    "nvidia-tesla-p100": 126,
    "nvidia-tesla-v100": 126,
}
# GPUs of a compute capability below 7.0, which Triton compiles nothing for.
_WITHOUT_TRITON = ("nvidia-tesla-p4", "nvidia-tesla-p100")
_DEFAULT_N1 = "n1-standard-4"
GPU_TYPES = (*dict.fromkeys(gpu for gpu, _ in _BUILT_IN.values()), *_ON_N1)


@dataclass(frozen=True)
class Gpu:
    """The GPUs of one machine.

    Attributes:
        type: Compute Engine's name.
        count: How many.
    """

    type: str
    count: int

    def __str__(self) -> str:
        return f"{self.type}:{self.count}"


def parse_gpu(text: str) -> Gpu:
    """Return the GPUs of `TYPE:COUNT`, or of `TYPE` for one.

    Raises:
        ValueError: No machine offers that type or that count.
    """
    found = re.fullmatch(r"([a-z0-9\-]+)(?::([0-9]{1,3}))?", text)
    if not found:
        raise ValueError(f"{text!r} is not TYPE:COUNT, as in nvidia-l4:1")
    gpu = Gpu(found[1], int(found[2] or 1))
    if gpu.type not in GPU_TYPES:
        raise ValueError(f"{gpu.type!r} is not one of: {', '.join(GPU_TYPES)}")
    offered = counts(gpu.type)
    if gpu.count not in offered:
        shown = ", ".join(str(count) for count in offered)
        raise ValueError(f"no machine has {gpu.count} {gpu.type}; possible: {shown}")
    return gpu


def counts(gpu_type: str) -> list[int]:
    """Return how many GPUs of a type a machine can have, in rising order."""
    if gpu_type in _ON_N1:
        return list(_ON_N1[gpu_type])
    return sorted({count for kind, count in _BUILT_IN.values() if kind == gpu_type})


def default_machine(gpu: Gpu) -> str:
    """Return the smallest machine type that takes these GPUs."""
    if gpu.type in _ON_N1:
        return _DEFAULT_N1
    return next(machine for machine, inside in _BUILT_IN.items() if inside == (gpu.type, gpu.count))


def misfit(machine: str, gpu: Gpu) -> str | None:
    """Return why these GPUs do not go with a machine type, and which does; None if they do."""
    family = machine.split("-")[0]
    if gpu.type in _ON_N1:
        return _misfit_on_n1(machine, gpu)
    inside = _BUILT_IN.get(machine)
    if inside == (gpu.type, gpu.count):
        return None
    wanted = default_machine(gpu)
    needed = wanted.split("-")[0]
    if family != needed:
        return f"{gpu.type} is found on {needed.upper()} machines only, not on {machine}: take {wanted}"
    if inside is None:
        return f"there is no machine type {machine}: take {wanted}"
    return f"{machine} has {inside[1]} × {inside[0]}, not {gpu.count} × {gpu.type}: take {wanted}"


def built_in_gpu(machine: str) -> Gpu | None:
    """Return the GPUs that a machine type always has, asked for or not; None if it has none."""
    inside = _BUILT_IN.get(machine)
    return None if inside is None else Gpu(*inside)


def torch_misfit(gpu: Gpu, build: str) -> str | None:
    """Return why a build of torch does not run on these GPUs, and which does; None if it does.

    Args:
        gpu: The GPUs.
        build: `pypi`, or as cu126 the CUDA it is for.
    """
    newest = _OLD_GPUS.get(gpu.type)
    if newest is None or (build.startswith("cu") and int(build.removeprefix("cu")) <= newest):
        return None
    return (
        f"{gpu.type} needs torch for CUDA {newest // 10}.{newest % 10} or older, --gpu-torch is {build}: "
        f"take nvidia-tesla-t4; or make the image by ./launch.sh build gpu --gpu-torch=cu{newest}, or one of "
        f"your own with such a torch, and give --gpu-torch=cu{newest} here, too"
    )


def has_triton(gpu: Gpu) -> bool:
    """Return whether torch.compile can write kernels for these GPUs."""
    return gpu.type not in _WITHOUT_TRITON


def unknown_accelerator(machine: str) -> bool:
    """Return whether machines of this type have GPUs or TPUs built in that are not among `GPU_TYPES`."""
    special = re.match(r"(?:a[2-9]|g[2-9]|ct[0-9]\w*|tpu\w*)-", machine)
    return bool(special) and machine not in _BUILT_IN


def has_shared_core(machine: str) -> bool:
    """Return whether machines of this type share a core with others."""
    return machine in ("f1-micro", "g1-small", "e2-micro", "e2-small", "e2-medium")


def is_arm(machine: str) -> bool:
    """Return whether machines of this type have Arm CPUs."""
    return machine.split("-")[0] in ("t2a", "c4a", "n4a", "a4x")


def _misfit_on_n1(machine: str, gpu: Gpu) -> str | None:
    found = re.fullmatch(r"(?:n1-)?(?:standard|highmem|highcpu|custom)-(\d+)(?:-\d+)?(?:-ext)?", machine)
    if not found or not machine.startswith(("n1-", "custom-")):
        return f"{gpu.type} is found on N1 machines only, not on {machine}: take {_DEFAULT_N1}"
    most = _ON_N1[gpu.type][gpu.count]
    if int(found[1]) > most:
        return (
            f"{gpu.count} × {gpu.type} go with at most {most} vCPUs, {machine} has {found[1]}: take a "
            "smaller machine"
        )
    return None
