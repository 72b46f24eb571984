"""`python -m benchmarks.model_calls`: what it costs to call an exported model, in one way or another.

The model's own work is the same in all of them. What differs is how its operators are reached, which is most
of a call where a model is small and batches are of one row.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from benchmarks.harness import cli, results
from benchmarks.harness.machine import Machine, versions_line
from benchmarks.harness.models import encoder, example, mlp
from benchmarks.harness.verdict import figures
from benchmarks.model_calls import report
from benchmarks.model_calls.measures import measure

SIZES = (1, 8, 64)


@dataclass(frozen=True)
class Options:
    """The command line.

    Attributes:
        rounds: In which the ways take turns.
        seconds: About how long each way is called in a round.
    """

    rounds: int
    seconds: float
    out: Path


def parse(arguments: Sequence[str] | None) -> Options:
    """Return the options of a command line. Exit with code 2 for wrong flags."""
    parser = cli.new_parser("model_calls", __doc__)
    cli.add_number(parser, "--rounds", 7, "in which the ways take turns")
    cli.add_number(parser, "--seconds", 0.05, "about how long each way is called in a round")
    cli.add_out(parser, "gets model_calls.json and model_calls.txt (default: benchmarks/results)")
    options = Options(**vars(parser.parse_args(arguments)))
    if options.rounds < 1 or not cli.is_positive(options.seconds):
        parser.error("--rounds at least 1, --seconds above 0")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, show and write the tables, and return 0 if all goals are met, else 1."""
    options = parse(arguments)
    machine = Machine("cpu", 1)
    torch.set_num_threads(machine.torch_threads)
    small = encoder(layers=2, width=64, heads=2, feed_forward=128, vocabulary=1000, length=16)
    workloads = (
        example(),
        replace(small, title="encoder of 2 layers, 64 wide; 16 tokens, float32"),
        mlp(),
    )
    costs = []
    for workload in workloads:
        cli.progress(workload.title)
        costs += measure(workload, SIZES, options.rounds, options.seconds)
    goals_of = workloads[0].title
    verdicts = report.verdicts(costs, goals_of)
    results.publish(
        options.out,
        "model_calls",
        lambda console: report.show(console, costs, goals_of, f"{machine}; {versions_line()}"),
        {
            "costs": [{**asdict(cost), "median_us": cost.median_us} for cost in costs],
            "verdicts": figures(verdicts),
            **machine.figures(),
        },
    )
    return 0 if all(verdict.met for verdict in verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
