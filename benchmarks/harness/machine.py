"""What the in-process experiments compute on, the same for both sides."""

from __future__ import annotations

import argparse
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import torch

_PACKAGES = ("apache-beam", "torch", "numpy", "orjson")


@dataclass(frozen=True)
class Machine:
    """The device and the threads of both sides.

    Attributes:
        device: cpu or gpu.
        torch_threads: Of one call of a model on the CPU.
    """

    device: str
    torch_threads: int

    @property
    def torch_device(self) -> torch.device:
        """The device as torch names it."""
        return torch.device("cuda" if self.device == "gpu" else "cpu")

    def __str__(self) -> str:
        processor = f"{_processor()}, {os.cpu_count()} cores"
        if self.device == "gpu":
            return f"{torch.cuda.get_device_name()} (beside {processor})"
        return f"{processor}, torch threads: {self.torch_threads}"

    def results_name(self, experiment: str) -> str:
        """Return the name of an experiment's results: those of a GPU stand beside those of the CPU."""
        return experiment if self.device == "cpu" else f"{experiment}-{self.device}"

    def figures(self) -> dict[str, object]:
        """Return the machine and the versions on it, for JSON."""
        return {"machine": str(self), **asdict(self), "versions": versions()}


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add --device and --torch_threads."""
    parser.add_argument(
        "--device",
        choices=("cpu", "gpu", "auto"),
        default="auto",
        help="that both sides compute on (default: %(default)s)",
    )
    parser.add_argument(
        "--torch_threads",
        type=int,
        # A job's default: one core is left to the bundle threads.
        default=max(1, (os.cpu_count() or 1) - 1),
        help="of one call on the CPU, on both sides (default: the cores less one, here %(default)s)",
    )


def machine(parser: argparse.ArgumentParser, device: str, torch_threads: int) -> Machine:
    """Return the machine that these flags ask for. Exit with code 2 where there is no such machine."""
    if torch_threads < 1:
        parser.error("--torch_threads must be at least 1")
    usable = torch.cuda.is_available()
    if device == "gpu" and not usable:
        parser.error("--device: gpu needs a CUDA device, and torch finds none here")
    return Machine("gpu" if usable and device != "cpu" else "cpu", torch_threads)


def versions(packages: Sequence[str] = _PACKAGES) -> dict[str, str]:
    """Return the versions of Python and of the packages that the figures depend on, by name."""
    return {"python": platform.python_version(), **{name: version(name) for name in packages}}


def versions_line(packages: Sequence[str] = _PACKAGES) -> str:
    """Return `versions` as text for the end of a report."""
    return ", ".join(f"{name} {number}" for name, number in versions(packages).items())


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())
