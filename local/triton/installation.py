"""`python -m local.triton.installation`: Triton, out of a wheel, into a folder that git ignores.

NVIDIA publishes the server in container images. The wheel of PyTriton holds the same program: version 2.51,
with HTTP, gRPC and Vertex AI's front end, and the Python backend alone; no GPU is needed.
"""

from __future__ import annotations

import fcntl
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import venv
from pathlib import Path

PACKAGE = "nvidia-pytriton==0.7.0"
COMMAND = "PYTHONPATH=. .venv/bin/python -m local.triton.installation"
"""What installs it, in the checkout."""
# Of the Python backend's own process. Its pybind11 is older than NumPy 2, of which it takes every array for
# empty: answers have a shape and no bytes.
_NUMPY = "numpy==1.26.4"

_ROOT = Path(__file__).parents[2]
_PYTHON = f"python{sys.version_info[0]}.{sys.version_info[1]}"
# A virtual environment. build/ is ignored by git, by the linters and by the images.
FOLDER = _ROOT / "build" / "triton" / f"{PACKAGE.replace('==', '-')}-{_PYTHON}"
_PACKAGES = Path("lib") / _PYTHON / "site-packages"
_SERVER = FOLDER / _PACKAGES / "pytriton" / "tritonserver"
BINARY = _SERVER / "bin" / "tritonserver"
BACKENDS = _SERVER / "backends"

# Each is built for one version of Python; NumPy 1.26 is there for these.
_STUB = "triton_python_backend_stub"
_STUB_VERSIONS = range(11, 13)


class TritonError(Exception):
    """Triton cannot be installed or started here; the message says why, and what to do."""


def is_installed() -> bool:
    """Return whether `install` has been here."""
    return BINARY.exists()


def why_not() -> str:
    """Return why Triton cannot run on this machine with this Python; empty where it can."""
    machine = f"{platform.system()} {platform.machine()}"
    if machine != "Linux x86_64":
        return f"the wheel is for Linux on x86-64, this is {machine}"
    if sys.version_info[0] != 3 or sys.version_info[1] not in _STUB_VERSIONS:
        return f"its Python backend wants Python 3.11 or 3.12 here, this is {platform.python_version()}"
    if not (_library_folder() / _library()).exists():
        return f"its Python backend loads {_library()}, which is not in {_library_folder()}"
    return ""


def environment() -> dict[str, str]:
    """Return the variables by which the Python backend finds this very Python, its packages and our modules.

    Without the first it takes the system's library of the same name, another build of another patch version.
    The packages are those of the first python3 on PATH: Python 3.11 ignores PYTHONPATH where a program embeds
    it so (https://github.com/python/cpython/issues/101471).
    """
    path = os.pathsep.join([str(FOLDER / "bin"), os.environ.get("PATH", os.defpath)])
    return {"LD_LIBRARY_PATH": str(_library_folder()), "PATH": path, "PYTHONPATH": str(_ROOT)}


def install() -> None:
    """Install Triton, unless it is there. Processes that do so at once wait for the first.

    Raises:
        TritonError: It cannot run here, or there is no installer, or the wheel cannot be had.
    """
    if reason := why_not():
        raise TritonError(f"Triton cannot run here: {reason}")
    FOLDER.parent.mkdir(parents=True, exist_ok=True)
    with (FOLDER.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if is_installed():
            return
        # Beside its place, to which it is moved once it is whole.
        with tempfile.TemporaryDirectory(dir=FOLDER.parent) as folder:
            made = Path(folder) / "made"
            _make(made)
            made.rename(FOLDER)


def _make(folder: Path) -> None:
    venv.create(folder, symlinks=True)
    packages = folder / _PACKAGES
    ended = subprocess.run(
        [*_installer(), f"--target={packages}", PACKAGE, _NUMPY], capture_output=True, text=True, check=False
    )
    if ended.returncode != 0:
        raise TritonError(f"{PACKAGE} cannot be installed:\n{ended.stderr.strip()[-2_000:]}")
    # After its own packages come those of this Python: torch.
    (packages / "ours.pth").write_text(sysconfig.get_path("purelib") + "\n")
    server = folder / _SERVER.relative_to(FOLDER)
    stub = server / "python_backend_stubs" / _PYTHON.removeprefix("python") / _STUB
    # The libraries that it names lie relative to it: as far away here as there.
    shutil.copy2(stub, server / "backends" / "python")


def _installer() -> list[str]:
    # The server alone: what PyTriton's own Python code needs is left out.
    what = ["install", "--quiet", "--no-deps", "--only-binary=:all:"]
    if importlib.util.find_spec("pip") is not None:
        return [sys.executable, "-m", "pip", "--disable-pip-version-check", *what]
    if (uv := shutil.which("uv")) is not None:
        return [uv, "pip", *what, f"--python={sys.executable}"]
    raise TritonError(f"there is neither pip in {sys.prefix} nor uv, to install {PACKAGE} with")


def _library() -> str:
    return f"lib{_PYTHON}.so.1.0"


def _library_folder() -> Path:
    folder = Path(sysconfig.get_config_var("LIBDIR"))
    # Debian's own Python says /usr/lib, and has it one below.
    below = folder / (sysconfig.get_config_var("MULTIARCH") or "")
    return below if (below / _library()).exists() else folder


if __name__ == "__main__":
    try:
        install()
    except TritonError as error:
        sys.exit(f"triton: {error}")
    print(f"Triton is in {FOLDER}")
