"""What the in-process benchmarks compute on, the same for both sides."""

import argparse
import os
import platform
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import torch

_PACKAGES = ("apache-beam", "torch", "numpy", "orjson")


@dataclass(frozen=True)
class Machine:
    """`device` is cpu or gpu; `torch_threads` those of one call of a model on the CPU."""

    device: str
    torch_threads: int

    @property
    def torch_device(self) -> torch.device:
        return torch.device("cuda" if self.device == "gpu" else "cpu")

    def __str__(self) -> str:
        processor = f"{_processor()}, {os.cpu_count()} cores"
        if self.device == "gpu":
            return f"{torch.cuda.get_device_name()} (beside {processor})"
        return f"{processor}, torch threads: {self.torch_threads}"


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds --device and --torch_threads."""
    parser.add_argument(
        "--device",
        choices=("cpu", "gpu", "auto"),
        default="auto",
        help="that both sides compute on (default: %(default)s)",
    )
    parser.add_argument(
        "--torch_threads",
        type=int,
        # What a job takes by default: one core is left to the bundle threads.
        default=max(1, (os.cpu_count() or 1) - 1),
        help="of one call on the CPU, on both sides (default: the cores less one, here %(default)s)",
    )


def machine(parser: argparse.ArgumentParser, device: str, torch_threads: int) -> Machine:
    """The machine of these flags; exits with code 2 where there is none such."""
    if torch_threads < 1:
        parser.error("--torch_threads must be at least 1")
    usable = torch.cuda.is_available()
    if device == "gpu" and not usable:
        parser.error("--device: gpu needs a CUDA device, and torch finds none here")
    return Machine("gpu" if usable and device != "cpu" else "cpu", torch_threads)


def versions() -> dict[str, str]:
    """Of Python and of the packages that the figures depend on."""
    return {"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}}


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())
