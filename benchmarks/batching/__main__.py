"""`python -m benchmarks.batching`: many bundle threads with small bundles, stock Beam beside this project.

On the CPU an MLP and bundles of one request; on a GPU a text encoder in float16 and bundles of one and four,
beside the best that plain forward passes reach there. Each thread has its own copies of Beam's RunInference,
with metrics that are counted, and sends the next bundle as soon as the last is back. Nothing is decoded.
"""

import argparse
import math
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.batching import report
from benchmarks.batching.measures import drive, plain_rates
from benchmarks.batching.report import CPU_GOALS, GPU_GOALS, Goals
from benchmarks.harness import results
from benchmarks.harness.machine import Machine, add_flags, machine
from benchmarks.harness.models import Workload, encoder, mlp
from benchmarks.harness.request_sides import check, request_sides
from benchmarks.local_engine.report import progress
from pipeline.process import registry

WARM_UP_S = 2.0
PLAIN_S = 2.0  # for each batch size


@dataclass(frozen=True)
class Plan:
    """What is measured on a device. `plain_sizes` are the batches of plain forward passes."""

    workload: Workload
    bundles: tuple[int, ...]
    threads: tuple[int, ...]
    plain_sizes: tuple[int, ...]
    goals: Goals


PLANS = {
    "cpu": Plan(mlp(), (1,), (1, 12, 48), (), CPU_GOALS),
    "gpu": Plan(encoder(), (1, 4), (12, 48), tuple(2**power for power in range(10)), GPU_GOALS),
}


@dataclass(frozen=True)
class Flags:
    """The command line; without bundles or threads, those of the device's plan."""

    out: Path
    seconds: float
    rounds: int
    bundle: tuple[int, ...] | None
    threads: tuple[int, ...] | None
    machine: Machine


def parse(arguments: Sequence[str] | None) -> Flags:
    """Flags from a command line; exits with code 2 for wrong ones."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.batching", description=__doc__.splitlines()[0], allow_abbrev=False
    )
    parser.add_argument(
        "--out",
        metavar="FOLDER",
        type=results.folder,
        default=results.FOLDER,
        help="gets batching.json and batching.txt, on a GPU batching-gpu (default: benchmarks/results)",
    )
    parser.add_argument(
        "--seconds", type=float, default=10.0, help="of each side in a round (default: %(default)g)"
    )
    parser.add_argument(
        "--rounds", type=int, default=3, help="in which the sides take turns (default: %(default)s)"
    )
    parser.add_argument(
        "--bundle", metavar="N,N", type=_counts, help="requests of a bundle (default: 1, on a GPU 1,4)"
    )
    parser.add_argument(
        "--threads", metavar="N,N", type=_counts, help="bundle threads (default: 1,12,48, on a GPU 12,48)"
    )
    add_flags(parser)
    values = vars(parser.parse_args(arguments))
    chosen = machine(parser, values.pop("device"), values.pop("torch_threads"))
    flags = Flags(**values, machine=chosen)
    if not 0 < flags.seconds < math.inf or flags.rounds < 1:
        parser.error("--seconds must be above 0 and --rounds at least 1")
    return flags


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0 when all was measured, whether or not the goals are met."""
    flags = parse(arguments)
    plan = PLANS[flags.machine.device]
    measured = measure(plan, flags, WARM_UP_S, PLAIN_S)
    results.publish(
        flags.out,
        "batching" if flags.machine.device == "cpu" else "batching-gpu",
        lambda console: report.show(console, measured, plan.goals, flags.machine),
        {"rounds": flags.rounds, **report.figures(measured, plan.goals, flags.machine)},
    )
    return 0


def measure(plan: Plan, flags: Flags, warm_up_s: float, plain_s: float) -> report.Measured:
    """All of the plan, but with the flags' bundles and threads where they are given."""
    workload, on = plan.workload, flags.machine
    torch.set_num_threads(on.torch_threads)
    runs, plain = [], {}
    try:
        with tempfile.TemporaryDirectory(prefix="batching-") as folder:
            sides = request_sides(workload, on, Path(folder))
            for bundle in flags.bundle or plan.bundles:
                check(sides, workload.inputs(bundle))
                for threads in flags.threads or plan.threads:
                    for number in range(flags.rounds):
                        for side in sides:
                            progress(
                                f"bundles of {bundle}, threads: {threads}, round {number + 1}: {side.title}, "
                                f"{flags.seconds:g} s"
                            )
                            runs.append(drive(side, workload, on, threads, bundle, flags.seconds, warm_up_s))
    finally:
        registry.close_all()
    if plan.plain_sizes:
        progress(f"plain forward passes, {plain_s:g} s for each batch size")
        plain = plain_rates(workload, on, plan.plain_sizes, plain_s)
    return report.Measured(workload.title, flags.seconds, runs, plain)


def _counts(text: str) -> tuple[int, ...]:
    counts = sorted({int(part) for part in text.split(",")})
    if counts[0] < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: each must be at least 1")
    return tuple(counts)


if __name__ == "__main__":
    sys.exit(main())
