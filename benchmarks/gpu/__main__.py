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
from dataclasses import asdict
from pathlib import Path
from typing import Any

import orjson
import torch

from benchmarks.gpu import report
from benchmarks.gpu.goals import verdicts
from benchmarks.gpu.nvml import Sampler
from benchmarks.gpu.plan import PARTS
from benchmarks.gpu.process import NOT_AVAILABLE
from benchmarks.harness.verdict import Verdict

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"

# For a part to import torch and Beam, and to end by itself once its time is up.
_START_S = 10.0
_GRACE_S = 20.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the parts; return 0 where each was measured or is not available here, else 1."""
    flags = _parse(arguments)
    sampler = Sampler()
    run: dict[str, Any] = {
        "title": _title(flags.rehearse),
        "rehearsal": flags.rehearse,
        "machine": _machine(sampler, flags.rehearse),
        "minutes": flags.minutes,
        "parts": {},
    }
    name = "gpu-rehearsal" if flags.rehearse else "gpu"
    ends_at = time.monotonic() + 60 * flags.minutes
    weights = sum(PARTS[part].weight for part in flags.parts)
    with tempfile.TemporaryDirectory(prefix="gpu-") as folder:
        for part in flags.parts:
            share = PARTS[part].weight / weights * max(0.0, ends_at - time.monotonic())
            weights -= PARTS[part].weight
            print(f"{PARTS[part].title}, at most {share:.0f} s", file=sys.stderr, flush=True)
            run["parts"][part] = _run_part(part, share, Path(folder), sampler, flags.rehearse)
            _write(flags.out / name, run)
    print(report.text(run, _verdicts(run)))
    failed = [part for part, found in run["parts"].items() if found["status"].startswith("failed")]
    tests = run["parts"].get("tests", {"rows": []})["rows"]
    return 1 if failed or any(row.get("outcome") == "failed" for row in tests) else 0


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line; what its values must be is looked at afterwards."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu", description=(__doc__ or "").splitlines()[0], allow_abbrev=False
    )
    parser.add_argument("--minutes", type=float, default=6.0, help="in all, about (default: %(default)g)")
    parser.add_argument(
        "--out", type=Path, default=RESULTS, help="gets gpu.txt and gpu.json (default: benchmarks/results)"
    )
    parser.add_argument(
        "--parts",
        type=lambda text: text.split(","),
        default=list(PARTS),
        help=f"some of {','.join(PARTS)} (default: all)",
    )
    parser.add_argument(
        "--rehearse",
        action="store_true",
        help="a small model on the CPU: proves the script, and says nothing of a GPU; writes gpu-rehearsal",
    )
    return parser


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = make_parser()
    flags = parser.parse_args(arguments)
    if unknown := [part for part in flags.parts if part not in PARTS]:
        parser.error(f"--parts: there is no {', '.join(unknown)}: choose from {', '.join(PARTS)}")
    if not 0 < flags.minutes <= 600:
        parser.error("--minutes must be above 0 and at most 600")
    if not flags.out.is_dir():
        parser.error(f"--out: {flags.out} is not a folder that exists")
    if not flags.rehearse and not torch.cuda.is_available():
        parser.error("torch finds no CUDA device here; --rehearse runs it all on the CPU, with a small model")
    return flags


def _run_part(name: str, seconds: float, folder: Path, sampler: Sampler, rehearse: bool) -> dict[str, Any]:
    """Run one part in its process, and return its title, status, seconds, rows and what NVML told."""
    rows = folder / f"{name}.jsonl"
    rows.touch()
    log = folder / f"{name}.log"
    own = folder / name
    own.mkdir()
    command = [
        *(sys.executable, "-m", "benchmarks.gpu.process", name, f"--folder={own}", f"--rows={rows}"),
        *(f"--seconds={max(1.0, seconds - _START_S)}", *(["--rehearse"] if rehearse else [])),
    ]
    begun = time.monotonic()
    with sampler.sampling() as readings, log.open("wb") as output:
        try:
            code: int | None = subprocess.run(
                command,
                cwd=ROOT,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=seconds + _GRACE_S,
                check=False,
            ).returncode
        except subprocess.TimeoutExpired:
            code = None
        nvml = readings()
    found = [orjson.loads(line) for line in rows.read_bytes().splitlines()]
    return {
        "title": PARTS[name].title,
        "status": _status(code, found, log),
        "seconds": time.monotonic() - begun,
        "rows": found,
        "nvml": nvml,
    }


def _status(code: int | None, rows: list[Mapping[str, Any]], log: Path) -> str:
    if code == 0:
        return "measured"
    if code == NOT_AVAILABLE:
        return f"not available: {rows.pop()['not_available']}"
    if code is None:
        return "ended when its time was up"
    tail = " ".join(log.read_text(errors="replace").split())[-1500:]
    return f"failed with exit code {code}: {tail}"


def _write(path: Path, run: Mapping[str, Any]) -> None:
    found = _verdicts(run)
    figures = {**run, "verdicts": [{**asdict(verdict), "met": verdict.met} for verdict in found]}
    for suffix, content in (
        (".json", orjson.dumps(figures, option=orjson.OPT_INDENT_2)),
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


def _machine(sampler: Sampler, rehearse: bool) -> dict[str, str]:
    # Asked in a process that ends: a CUDA context of this one would take memory from the parts.
    ask = "import torch; p = torch.cuda.get_device_properties(0); print(p.name, p.total_memory >> 20, 'MiB')"
    device = "none, CPU only"
    if not rehearse:
        device = subprocess.run(
            [sys.executable, "-c", ask], capture_output=True, text=True, check=True
        ).stdout.strip()
    beam = "not installed"
    if importlib.util.find_spec("apache_beam") is not None:
        beam = importlib.metadata.version("apache-beam")
    return {
        "device": device,
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
    sys.exit(main())
