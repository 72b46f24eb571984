"""A virtual environment for each peer, made at its first use below build/, which git ignores."""

from __future__ import annotations

import fcntl
import importlib.util
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import venv
from pathlib import Path

from benchmarks.harness.jobs import ROOT

_PYTHON = f"python{sys.version_info[0]}.{sys.version_info[1]}"
_FOLDER = ROOT / "build" / "serving"


class InstallError(Exception):
    """A peer cannot be installed here; the message says why."""


def environment(packages: tuple[str, ...]) -> Path:
    """Return the environment that holds these packages; install them, unless they are there.

    Their dependencies come along. Of what they do not bring, this Python's own packages are found after
    them: torch above all, which takes 1 GB.

    Args:
        packages: NAME==VERSION, the peer first.

    Raises:
        InstallError: There is no installer, or the packages cannot be had.
    """
    folder = _FOLDER / f"{packages[0].replace('==', '-')}-{_PYTHON}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if folder.exists():
            return folder
        # Beside its place, to which it is moved once it is whole: no script in its bin/ is used, which
        # would name the first place.
        with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
            made = Path(temporary) / "made"
            venv.create(made, symlinks=True)
            command = [*_installer(python(made)), *packages]
            ended = subprocess.run(command, capture_output=True, text=True, check=False)
            if ended.returncode != 0:
                raise InstallError(f"{packages[0]} cannot be installed: {_last_line(ended.stderr)}")
            (made / "lib" / _PYTHON / "site-packages" / "ours.pth").write_text(
                sysconfig.get_path("purelib") + "\n"
            )
            made.rename(folder)
    return folder


def python(folder: Path) -> str:
    """Return the Python of an environment."""
    return str(folder / "bin" / "python")


def _installer(interpreter: str) -> list[str]:
    what = ["install", "--quiet", "--only-binary=:all:"]
    if importlib.util.find_spec("pip") is not None:
        return [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", interpreter, *what]
    if (uv := shutil.which("uv")) is not None:
        return [uv, "pip", *what, f"--python={interpreter}"]
    raise InstallError(f"there is neither pip in {sys.prefix} nor uv to install it with")


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else "the installer says nothing"
