"""`python -m benchmarks.gpu.wheels`: what `python -m benchmarks.gpu` needs on a machine without a network.

The wheels go into a folder that git ignores, in the versions of requirements-dev.txt, without torch, numpy
and pyarrow: a GPU machine has a torch and a numpy of its own, and Beam does without pyarrow here. There:

    python3 -m pip install --no-index --no-deps --target /tmp/site .wheels/*.whl
    PYTHONPATH=/tmp/site python3 -m benchmarks.gpu
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.harness.cli import new_parser

ROOT = Path(__file__).parents[2]
LOCK = ROOT / "requirements-dev.txt"
FOLDER = ROOT / ".wheels"  # this command's own
MOST_BYTES = 60 * 2**20

# What importing Beam's RunInference and this project's handler takes, and pytest.
PACKAGES = (
    *("apache-beam", "beartype", "certifi", "cffi", "charset-normalizer", "cryptography", "fastavro"),
    *("fasteners", "grpcio", "httplib2", "idna", "iniconfig", "jsonpickle", "objsize", "orjson", "packaging"),
    *("pluggy", "proto-plus", "protobuf", "pycparser", "pygments", "pymongo", "pyparsing", "pytest"),
    *("python-dateutil", "pytz", "pyyaml", "requests", "six", "sortedcontainers", "typing-extensions"),
    *("urllib3", "zstandard"),
)
# Only a machine with a GPU needs it, so it is in no lock.
NVML = "nvidia-ml-py==13.615.71"

# glibc's versions that the wheels are built for; pip matches each exactly.
_GLIBC = ("2_28", "2_27", "2_24", "2_17")


def main(arguments: Sequence[str] | None = None) -> int:
    """Download the wheels; return 0, or 1 where one cannot be had or all are too large together."""
    flags = _parse(arguments)
    flags.out.mkdir(parents=True, exist_ok=True)
    for old in flags.out.glob("*.whl"):
        old.unlink()
    ended = subprocess.run(command(flags.python, flags.out), check=False)
    size = sum(wheel.stat().st_size for wheel in flags.out.glob("*.whl"))
    if ended.returncode != 0:
        return 1
    print(f"{flags.out}: {len(list(flags.out.glob('*.whl')))} wheels, {size / 2**20:.1f} MiB")
    if size > MOST_BYTES:
        print(f"more than {MOST_BYTES >> 20} MiB: a package has grown", file=sys.stderr)
        return 1
    return 0


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = new_parser("gpu.wheels", __doc__ or "")
    parser.add_argument("--python", default="3.12", help="of the GPU machine (default: %(default)s)")
    parser.add_argument(
        "--out",
        metavar="FOLDER",
        type=Path,
        default=FOLDER,
        help="gets the wheels; a new or empty folder (default: .wheels, whose old wheels go)",
    )
    return parser


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = make_parser()
    flags = parser.parse_args(arguments)
    # Wheels in any other folder are the user's.
    if flags.out.resolve() != FOLDER and flags.out.exists():
        if not flags.out.is_dir():
            parser.error(f"--out: {flags.out} is not a folder")
        if any(flags.out.iterdir()):
            parser.error(f"--out: {flags.out} is not empty")
    return flags


def command(python: str, out: Path) -> list[str]:
    """Return pip's command line, for Linux on x86-64."""
    platforms = [f"--platform=manylinux_{version}_x86_64" for version in _GLIBC]
    return [
        *(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"),
        *("--no-deps", "--only-binary=:all:", f"--python-version={python}", "--implementation=cp"),
        *(*platforms, "--platform=manylinux2014_x86_64", "--platform=manylinux1_x86_64"),
        *(f"--dest={out}", *requirements(), NVML),
    ]


def requirements() -> list[str]:
    """Return each package as the lock pins it.

    Raises:
        ValueError: The lock does not have it.
    """
    pinned: dict[str, str] = {
        match[1]: match[2]
        for line in LOCK.read_text().splitlines()
        if (match := re.fullmatch(r"([A-Za-z0-9._-]+)==(\S+)", line)) is not None
    }
    missing = [name for name in PACKAGES if name not in pinned]
    if missing:
        raise ValueError(f"{LOCK.name} does not have {', '.join(missing)}")
    return [f"{name}=={pinned[name]}" for name in PACKAGES]


if __name__ == "__main__":
    sys.exit(main())
