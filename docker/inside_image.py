"""The checks of check_image.sh that run inside the image.

Each prints a line: what it found, or what is wrong. The exit code is 1 if one failed.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import sys
import traceback
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path

# Where the Dockerfiles put things.
APP = Path("/app")
MODELS = Path("/models")
LAUNCHER = Path("/opt/google/dataflow/python_template_launcher")
NEEDED = ("apache-beam", "torch", "beam-streaming-inference")


class Failure(Exception):
    """What is wrong with the image."""


def packages() -> str:
    """Check that what the job needs is installed, directly or not, each package in its pinned version.

    What else is there, such as the base image's pip and setuptools, may be of another: nothing imports it.
    """
    locks = sorted(APP.glob("requirements-*.txt"))
    if len(locks) != 1:
        raise Failure(f"there should be one {APP}/requirements-*.txt, found {len(locks)}")
    lock = locks[0]
    pinned = dict(line.split("==") for line in lock.read_text().splitlines() if "==" in line)
    found, missing = required(NEEDED)
    wrong = [f"{name} is not installed" for name in missing]
    wrong += [
        f"{name} is {version}, not {pinned[name]} as in {lock.name}"
        for name, version in sorted(found.items())
        if pinned.get(name, version) != version
    ]
    if wrong:
        raise Failure("; ".join(wrong))
    return ", ".join([f"Python {platform.python_version()}", *(f"{name} {found[name]}" for name in NEEDED)])


def required(names: Iterable[str]) -> tuple[dict[str, str], list[str]]:
    """Return the versions of packages and of all that they require, by name, and which are missing."""
    # Beam requires it; not at the top, as without Beam there should be a line that says so.
    from packaging.requirements import Requirement

    found: dict[str, str] = {}
    missing: set[str] = set()
    seen = set()
    left = [Requirement(name) for name in names]
    while left:
        wanted = left.pop()
        name = re.sub(r"[-_.]+", "-", wanted.name).lower()
        extras = frozenset(wanted.extras)
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        try:
            distribution = importlib.metadata.distribution(wanted.name)
        except importlib.metadata.PackageNotFoundError:
            missing.add(name)
            continue
        # 2.13.0+cpu is a build of 2.13.0.
        found[name] = distribution.version.partition("+")[0]
        for text in distribution.requires or ():
            requirement = Requirement(text)
            marker = requirement.marker
            if marker is None or any(marker.evaluate({"extra": extra}) for extra in extras | {""}):
                left.append(requirement)
    return found, sorted(missing)


def pip_check() -> str:
    """Check that the requirements of all packages fit together."""
    return run(sys.executable, "-m", "pip", "check")


def imports() -> str:
    """Check that Beam, torch and the job are installed in one place."""
    import apache_beam
    import torch

    import pipeline

    folders = [Path(str(module.__file__)).parent for module in (apache_beam, torch, pipeline)]
    if len({folder.parent for folder in folders}) > 1:
        raise Failure(f"these should be installed in one place: {', '.join(map(str, folders))}")
    return f"apache_beam, torch and pipeline, from {folders[0].parent}"


def compiler() -> str:
    """Check that there is a C++ compiler, unless the image says that it was built without."""
    if os.environ.get("IMAGE_HAS_COMPILER") == "false":
        return "none, as the image was built: --compile=true is refused at launch"
    if shutil.which("g++") is None:
        raise Failure("there is no g++, which --compile=true needs")
    return run("g++", "--version").splitlines()[0]


def launcher() -> str:
    """Check that the template launcher can be run."""
    if not os.access(LAUNCHER, os.X_OK):
        raise Failure(f"there is no program {LAUNCHER}")
    return str(LAUNCHER)


def launched_file() -> str:
    """Check that the file that the launcher runs is the job."""
    file = os.environ.get("FLEX_TEMPLATE_PYTHON_PY_FILE", "")
    if not file:
        raise Failure("FLEX_TEMPLATE_PYTHON_PY_FILE is not set: the launcher would not know what to run")
    if "--input_subscription" not in run(sys.executable, file, "--help"):
        raise Failure(f"{file} --help does not show the flags of the job")
    return file


def job() -> str:
    """Check that the job starts as a module, as far as its help."""
    run(sys.executable, "-m", "pipeline", "--help")
    return "python -m pipeline --help"


def model() -> str:
    """Check that there is a model."""
    files = sorted(str(file) for file in MODELS.glob("*") if file.is_file())
    if not files:
        raise Failure(f"there is no file in {MODELS}")
    return ", ".join(files)


def gpu() -> str:
    """Check that torch sees a GPU and computes on it."""
    import torch

    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        seen = torch.cuda.is_available()
    if not seen:
        reasons = " ".join(str(warning.message) for warning in said)
        raise Failure(f"torch, built for CUDA {torch.version.cuda}, sees no GPU. {reasons}".rstrip())
    ones = torch.ones(256, 256, device="cuda")
    if not bool(((ones @ ones) == 256).all()):
        raise Failure("the GPU multiplies wrongly")
    return f"{torch.cuda.device_count()} × {torch.cuda.get_device_name(0)}, CUDA {torch.version.cuda}"


def run(*command: str) -> str:
    """Run a command and return what it prints.

    Raises:
        Failure: It did not end with 0.
    """
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode != 0:
        raise Failure(f"{' '.join(command)} ended with {done.returncode}: {done.stdout}{done.stderr}".strip())
    return done.stdout.strip()


def passes(check: Callable[[], str]) -> bool:
    """Run one check, print its line, and return whether the image passes it."""
    name = check.__name__.replace("_", " ")
    try:
        print(f"ok      {name}: {check()}", flush=True)
    except Failure as failure:
        print(f"FAILED  {name}: {failure}", flush=True)
        return False
    # Whatever importing or computing raises is the finding, as a line like the others.
    except Exception:
        print(f"FAILED  {name}: {traceback.format_exc().strip()}", flush=True)
        return False
    return True


CHECKS = (packages, pip_check, imports, compiler, launcher, launched_file, job, model)

if __name__ == "__main__":
    results = [passes(check) for check in (*CHECKS, *([gpu] if "--gpu" in sys.argv else []))]
    sys.exit(0 if all(results) else 1)
