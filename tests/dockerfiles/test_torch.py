"""Where an image's torch comes from: the step is run by a shell, with stand-ins for pip and uv."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.dockerfiles.dockerfile import DEVICES, with_bases


def installed(tmp_path: Path, device: str, **arguments: str) -> list[str]:
    """Return the commands that the step runs with these build arguments."""
    (step,) = [text for text in with_bases(device, "torch")[-1].arguments("RUN") if "uv" in text]
    for name in ("pip", "python", "uv"):
        program = tmp_path / name
        program.write_text(f'#!/bin/sh\necho {name} "$@" >>"{tmp_path}/called"\n')
        program.chmod(0o755)
    (tmp_path / "called").write_text("")
    defaults = {"TORCH_BACKEND": "", "PIP_EXTRA_INDEX_URL": "", "COMPILE": "false"}
    path = f"{tmp_path}:{os.environ['PATH']}"
    subprocess.run(["sh", "-c", step], env={**defaults, **arguments, "PATH": path}, check=True)
    return (tmp_path / "called").read_text().splitlines()


def by_pip(device: str) -> list[str]:
    """Return what comes last in each case: what torch requires, and torch if it is not there."""
    return [
        f"pip install --no-compile --constraint requirements-{device}.txt numpy setuptools torch",
        "python slim.py --compile=false",
    ]


def by_uv(device: str, backend: str) -> str:
    return (
        f"uv pip install --system --no-cache --no-deps --torch-backend {backend} "
        f"--constraint requirements-{device}.txt torch"
    )


def test_the_cpu_image_has_the_build_for_cpus(tmp_path: Path) -> None:
    """From PyPI it would bring CUDA's libraries along."""
    first, second, third, *last = installed(tmp_path, "cpu")
    assert first.startswith("pip install uv==")
    assert second == by_uv("cpu", "cpu")
    assert third == "pip uninstall --yes uv"
    assert last == by_pip("cpu")


def test_the_gpu_image_has_pypis_unless_told_otherwise(tmp_path: Path) -> None:
    assert installed(tmp_path, "gpu") == by_pip("gpu")
    assert installed(tmp_path, "gpu", TORCH_BACKEND="cu126")[1] == by_uv("gpu", "cu126")


@pytest.mark.parametrize("device", DEVICES)
def test_an_index_of_the_users_comes_first(tmp_path: Path, device: str) -> None:
    assert installed(tmp_path, device, PIP_EXTRA_INDEX_URL="https://mirror.example/torch") == by_pip(device)
    assert installed(tmp_path, device, TORCH_BACKEND="pypi") == by_pip(device)


@pytest.mark.parametrize("device", DEVICES)
def test_both_images_are_built_on_it(device: str) -> None:
    for name in ("serving", "worker"):
        assert "torch" in [stage.name for stage in with_bases(device, name)]
