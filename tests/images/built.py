"""Stages of the Dockerfiles, built."""

from __future__ import annotations

from pathlib import Path

from tests.dockerfiles.dockerfile import ROOT
from tests.images.bases import LAUNCHER, make_bases
from tests.images.buildah import FOLDER, alone, buildah
from tests.images.pip_settings import pip_settings


def build(device: str, stage: str, *, name: str = "", context: Path = ROOT, compile: bool = False) -> str:
    """Build a stage of Dockerfile.cpu or Dockerfile.gpu and return the image's name.

    Steps that were built before on the same files are taken from the store.

    Args:
        device: cpu or gpu.
        stage: Its name in the Dockerfile.
        name: The image's; default: such that one on other arguments has another.
        context: The checkout, or a copy of what of it a build gets.
        compile: Whether it has a compiler.
    """
    pip = pip_settings()
    with alone():
        make_bases()
        arguments = {"LAUNCHER": LAUNCHER}
        if compile:
            arguments["COMPILE"] = "true"
        if pip.has_packages_of_its_own():
            arguments["TORCH_BACKEND"] = "pypi"
        image = f"localhost/{name or stage}:{device}{'-compile' if compile else ''}"
        buildah(
            *("build", "--network=host", "--layers", "--pull=never"),
            f"--file={context / f'Dockerfile.{device}'}",
            *(f"--build-arg={name}={value}" for name, value in arguments.items()),
            *pip.write(FOLDER / "pip.conf"),
            *(f"--target={stage}", f"--tag={image}", str(context)),
        )
        return image


def forget_what_is_replaced() -> None:
    """Take images and layers out of the store that no image with a name is made of."""
    with alone():
        buildah("rmi", "--prune")
