"""`python -m benchmarks.gpu`: the CUDA tests, then stock's way beside this project's, on a GPU.

It needs torch 2.9 or newer, numpy, orjson and, for stock's own handler, Apache Beam; the project need not be
installed. Each part runs in a process of its own and has its share of the time. What was measured before a
failure is kept: gpu.txt and gpu.json are written anew after each part.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import torch

from benchmarks.gpu import mps, report
from benchmarks.gpu.child import exit_on_sigterm, run_child
from benchmarks.gpu.context import GRACE_S
from benchmarks.gpu.goals import verdicts
from benchmarks.gpu.nvml import Sampler
from benchmarks.gpu.plan import PARTS
from benchmarks.gpu.status import outcome
from benchmarks.harness.cli import add_names, add_number, add_out, new_parser, progress
from benchmarks.harness.verdict import Verdict, figures

ROOT = Path(__file__).parents[2]

# For a part to import torch and Beam.
_START_S = 10.0


@dataclass(frozen=True)
class Gpu:
    """The GPU that torch takes.

    Attributes:
        title: Its name and memory.
        uuid: As NVML has it.
    """

    title: str
    uuid: str


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the parts.

    Returns:
        1 where a part or a CUDA test failed, or a part had to be ended; else 0, also where a part is not
        available here or had too little time.
    """
    flags = _parse(arguments)
    gpu = None if flags.rehearse else _gpu()
    sampler = Sampler(None if gpu is None else gpu.uuid)
    run: dict[str, Any] = {
        "title": _title(flags.rehearse),
        "rehearsal": flags.rehearse,
        "machine": _machine(gpu, sampler),
        "minutes": flags.minutes,
        "parts": {},
    }
    name = "gpu-rehearsal" if flags.rehearse else "gpu"
    ends_at = time.monotonic() + 60 * flags.minutes
    weights = sum(PARTS[part].weight for part in flags.parts)
    failed = False
    with tempfile.TemporaryDirectory(prefix="gpu-") as folder:
        for part in flags.parts:
            share = PARTS[part].weight / weights * max(0.0, ends_at - time.monotonic())
            weights -= PARTS[part].weight
            progress(f"{PARTS[part].title}, at most {share:.0f} s")
            run["parts"][part], error = _run_part(part, share, Path(folder), sampler, flags.rehearse)
            failed |= error
            _write(flags.out / name, run)
    print(report.text(run, _verdicts(run)))
    tests = run["parts"].get("tests", {"rows": []})["rows"]
    return 1 if failed or any(row["outcome"] == "failed" for row in tests) else 0


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line; what its values must be is looked at afterwards."""
    parser = new_parser("gpu", __doc__ or "")
    add_number(parser, "--minutes", 6.0, "in all, about")
    add_out(parser, "gets gpu.txt and gpu.json (default: benchmarks/results)")
    add_names(parser, "--parts", PARTS)
    parser.add_argument(
        "--rehearse",
        action="store_true",
        help="a small model on the CPU: proves the script, and says nothing of a GPU; writes gpu-rehearsal",
    )
    return parser


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = make_parser()
    flags = parser.parse_args(arguments)
    if not 0 < flags.minutes <= 600:
        parser.error("--minutes must be above 0 and at most 600")
    if not flags.rehearse and not torch.cuda.is_available():
        parser.error("torch finds no CUDA device here; --rehearse runs it all on the CPU, with a small model")
    return flags


def _run_part(
    name: str, seconds: float, folder: Path, sampler: Sampler, rehearse: bool
) -> tuple[dict[str, Any], bool]:
    """Run one part in its process.

    Returns:
        Its title, status, reason, seconds, rows and what NVML told, for JSON; and whether it is an error.
    """
    rows, log, why_not = (folder / f"{name}.{suffix}" for suffix in ("jsonl", "log", "reason"))
    for file in (rows, why_not):
        file.touch()
    own = folder / name
    own.mkdir()
    command = [
        *(sys.executable, "-m", "benchmarks.gpu.process", name, f"--folder={own}", f"--rows={rows}"),
        *(f"--why-not={why_not}", f"--seconds={max(1.0, seconds - _START_S)}"),
        *(["--rehearse"] if rehearse else []),
    ]
    begun = time.monotonic()
    with sampler.sampling() as readings, log.open("wb") as output:
        try:
            code = run_child(command, ROOT, output, seconds + GRACE_S)
        finally:
            # The part ends its daemon itself, unless it was killed.
            mps.stop(mps.folder_of(own))
        nvml = readings()
    found = [orjson.loads(line) for line in rows.read_bytes().splitlines()]
    result = outcome(code, found, why_not.read_text(), log.read_text(errors="replace"))
    part = {
        "title": PARTS[name].title,
        "status": result.status,
        "reason": result.reason,
        "seconds": time.monotonic() - begun,
        "rows": found,
        "nvml": nvml,
    }
    return part, result.is_error


def _write(path: Path, run: Mapping[str, Any]) -> None:
    found = _verdicts(run)
    for suffix, content in (
        (".json", orjson.dumps({**run, "verdicts": figures(found)}, option=orjson.OPT_INDENT_2)),
        (".txt", report.text(run, found).encode()),
    ):
        part = path.with_suffix(f"{suffix}.part")
        part.write_bytes(content)
        part.replace(path.with_suffix(suffix))


def _verdicts(run: Mapping[str, Any]) -> list[Verdict]:
    # The goals are a GPU's.
    return [] if run["rehearsal"] else verdicts(run["parts"])


def _title(rehearse: bool) -> str:
    if rehearse:
        return (
            "REHEARSAL on the CPU with a small model: it proves that the script runs. No figure in it says "
            "anything of a GPU."
        )
    return (
        "An encoder as large as BERT base (12 layers, 768 wide, 128 tokens, random weights). Bundle threads "
        "send bundle after bundle; latencies are of whole bundles."
    )


def _gpu() -> Gpu:
    # Asked in a process that ends: a CUDA context of this one would take memory from the parts.
    ask = (
        "import torch; p = torch.cuda.get_device_properties(0); "
        "print(p.name, p.total_memory >> 20, 'MiB'); print(f'GPU-{p.uuid}')"
    )
    told = subprocess.run([sys.executable, "-c", ask], stdout=subprocess.PIPE, text=True, check=True)
    title, uuid = told.stdout.splitlines()
    return Gpu(title, uuid)


def _machine(gpu: Gpu | None, sampler: Sampler) -> dict[str, str]:
    beam = "not installed"
    if importlib.util.find_spec("apache_beam") is not None:
        beam = importlib.metadata.version("apache-beam")
    return {
        "device": "none, CPU only" if gpu is None else gpu.title,
        "driver": sampler.driver(),
        "CUDA of torch": str(torch.version.cuda),
        "torch": torch.__version__,
        "apache-beam": beam,
        "numpy": importlib.metadata.version("numpy"),
        "python": platform.python_version(),
        "cores": str(os.cpu_count()),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
    }


if __name__ == "__main__":
    exit_on_sigterm()
    sys.exit(main())
