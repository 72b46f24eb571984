"""`python -m benchmarks.batching`: many bundle threads with small bundles, stock Beam beside this project.

On the CPU an MLP and bundles of one request; on a GPU a text encoder in float16 and bundles of one and four,
beside the best that plain forward passes reach there. Each thread has its own copies of Beam's RunInference,
with metrics that are counted, and sends the next bundle as soon as the last is back. Nothing is decoded.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.batching import report
from benchmarks.batching.measures import drive, plain_rates
from benchmarks.batching.report import CPU_GOALS, GPU_GOALS, Goals
from benchmarks.harness import cli, results
from benchmarks.harness.machine import Machine, add_flags, machine
from benchmarks.harness.models import Workload, encoder, mlp
from benchmarks.harness.request_sides import check, request_sides
from pipeline.process import registry

WARM_UP_S = 2.0
PLAIN_S = 2.0  # for each batch size


@dataclass(frozen=True)
class Plan:
    """What is measured on a device.

    Attributes:
        bundles: Requests of a bundle.
        threads: Bundle threads.
        plain_sizes: The batches of plain forward passes.
    """

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
class Options:
    """The command line. Without bundles or threads, those of the device's plan hold."""

    out: Path
    seconds: float
    rounds: int
    bundle: tuple[int, ...] | None
    threads: tuple[int, ...] | None
    machine: Machine


def parse(arguments: Sequence[str] | None) -> Options:
    """Return the options of a command line. Exit with code 2 for wrong flags."""
    parser = cli.new_parser("batching", __doc__)
    cli.add_out(
        parser, "gets batching.json and batching.txt, on a GPU batching-gpu (default: benchmarks/results)"
    )
    cli.add_number(parser, "--seconds", 10.0, "of each side in a round")
    cli.add_number(parser, "--rounds", 3, "in which the sides take turns")
    parser.add_argument(
        "--bundle", metavar="N,N", type=_counts, help="requests of a bundle (default: 1, on a GPU 1,4)"
    )
    parser.add_argument(
        "--threads", metavar="N,N", type=_counts, help="bundle threads (default: 1,12,48, on a GPU 12,48)"
    )
    add_flags(parser)
    values = vars(parser.parse_args(arguments))
    chosen = machine(parser, values.pop("device"), values.pop("torch_threads"))
    options = Options(**values, machine=chosen)
    if not cli.is_positive(options.seconds) or options.rounds < 1:
        parser.error("--seconds must be above 0 and --rounds at least 1")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and return 0 whether or not the goals are met."""
    options = parse(arguments)
    plan = PLANS[options.machine.device]
    measured = measure(plan, options, WARM_UP_S, PLAIN_S)
    results.publish(
        options.out,
        options.machine.results_name("batching"),
        lambda console: report.show(console, measured, plan.goals, options.machine),
        {"rounds": options.rounds, **report.figures(measured, plan.goals, options.machine)},
    )
    return 0


def measure(plan: Plan, options: Options, warm_up_s: float, plain_s: float) -> report.Measured:
    """Measure all of the plan, but with the bundles and threads that are asked for, if any."""
    workload, on = plan.workload, options.machine
    torch.set_num_threads(on.torch_threads)
    runs, plain = [], {}
    try:
        with tempfile.TemporaryDirectory(prefix="batching-") as folder:
            sides = request_sides(workload, on, Path(folder))
            for bundle in options.bundle or plan.bundles:
                check(sides, workload.inputs(bundle))
                for threads in options.threads or plan.threads:
                    for number in range(options.rounds):
                        for side in sides:
                            cli.progress(
                                f"bundles of {bundle}, threads: {threads}, round {number + 1}: {side.title}, "
                                f"{options.seconds:g} s"
                            )
                            runs.append(
                                drive(side, workload, on, threads, bundle, options.seconds, warm_up_s)
                            )
    finally:
        registry.close_all()
    if plan.plain_sizes:
        cli.progress(f"plain forward passes, {plain_s:g} s for each batch size")
        plain = plain_rates(workload, on, plan.plain_sizes, plain_s)
    return report.Measured(workload.title, options.seconds, runs, plain)


def _counts(text: str) -> tuple[int, ...]:
    counts = sorted({int(part) for part in text.split(",")})
    if counts[0] < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: each must be at least 1")
    return tuple(counts)


if __name__ == "__main__":
    sys.exit(main())
