"""buildah, which builds and runs images without an engine, over a store of the tests' own.

The store lies in the checkout, where git ignores it, and stays there: buildah finds in it the layers that
it has built before, each by its step and by the content of the files that the step copies.
"""

from __future__ import annotations

import fcntl
import functools
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from tests.dockerfiles.dockerfile import ROOT

FOLDER = ROOT / ".images"
_PROGRAMS = ("buildah", "debootstrap", "apt-get")


def missing() -> str | None:
    """Return why no image can be built here; None if it can."""
    absent = [name for name in _PROGRAMS if shutil.which(name) is None]
    if absent:
        return (
            f"needs {', '.join(absent)}: on Debian, as root, "
            "apt-get install --no-install-recommends buildah debootstrap"
        )
    if os.geteuid() != 0:
        return "needs root, to make a Debian in a folder and to change into it"
    return None


@functools.cache
def environment() -> dict[str, str]:
    """Return the environment of every call: where the store is, and how layers and processes are made.

    overlay where this kernel mounts it; else vfs, which holds each layer with all that is below it: several
    times the size. Programs of a container run by chroot, which asks nothing of the kernel that a container
    may lack, on the network of this machine.
    """
    FOLDER.mkdir(exist_ok=True)
    for driver in ("overlay", "vfs"):
        config = FOLDER / f"{driver}.conf"
        config.write_text(
            f'[storage]\ndriver = "{driver}"\n'
            f'graphroot = "{FOLDER / "store"}"\nrunroot = "{FOLDER / "run"}"\n'
        )
        found = {
            **os.environ,
            "CONTAINERS_STORAGE_CONF": str(config),
            "BUILDAH_ISOLATION": "chroot",
        }
        if subprocess.run(["buildah", "info"], env=found, capture_output=True).returncode == 0:
            return found
    raise AssertionError(f"buildah can make no store in {FOLDER}")


def buildah(*arguments: str, check: bool = True) -> str:
    """Call buildah and return what it prints on stdout.

    Args:
        *arguments: Its subcommand and the flags of that.
        check: Whether a call that fails fails the test, with the end of what it said.
    """
    ended = subprocess.run(
        ["buildah", *arguments],
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    said = f"{ended.stdout[-6_000:]}{ended.stderr[-6_000:]}"
    assert not check or ended.returncode == 0, f"buildah {' '.join(arguments)}: {said}"
    return ended.stdout


@contextmanager
def alone() -> Iterator[None]:
    """Hold the store for a build: other processes of the tests wait, and find what this one has built."""
    FOLDER.mkdir(exist_ok=True)
    with (FOLDER / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def exists(image: str) -> bool:
    """Return whether the store has an image."""
    return bool(buildah("images", "--quiet", image, check=False).strip())


@contextmanager
def container(image: str) -> Iterator[str]:
    """Make a working container of an image, and take it away afterwards; gives its name."""
    name = buildah("from", "--pull=never", image).strip()
    try:
        yield name
    finally:
        buildah("rm", name)


def in_container(
    name: str, *argv: str, environment: Sequence[str] = (), volumes: Sequence[str] = ()
) -> list[str]:
    """Return the command that runs a program in a container, as the user that the image names.

    It is started with the environment of `environment()`.

    Args:
        name: The container's.
        *argv: The program and its arguments. The image's own entrypoint is not looked at.
        environment: NAME=VALUE each, beside what the image sets.
        volumes: FOLDER:FOLDER_IN_CONTAINER[:ro] each.
    """
    flags = [f"--env={pair}" for pair in environment] + [f"--volume={each}" for each in volumes]
    return ["buildah", "run", *flags, name, "--", *argv]
