"""`python -m benchmarks.handler`: what a message costs in process, stock Beam beside this project.

The sides take turns, each through Beam's own BatchElements and RunInference as one bundle thread runs them,
with metrics that are counted. Both load the same model: a state_dict and its class, which stock takes too.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from benchmarks.handler import report
from benchmarks.handler.measures import cost_of_metrics, loads, one_at_a_time, processor_time
from benchmarks.harness import cli, results
from benchmarks.harness.machine import Machine, add_flags, machine
from benchmarks.harness.models import example, linear, mlp
from pipeline.process import registry

TABLES = ("cpu", "metrics", "single", "loads")
WIDE = 1024  # features


@dataclass(frozen=True)
class Options:
    """The command line."""

    out: Path
    rounds: int
    bundles: int
    requests: int
    tables: tuple[str, ...]
    machine: Machine


def parse(arguments: Sequence[str] | None) -> Options:
    """Return the options of a command line. Exit with code 2 for wrong flags."""
    parser = cli.new_parser("handler", __doc__)
    cli.add_out(
        parser, "gets handler.json and handler.txt, on a GPU handler-gpu (default: benchmarks/results)"
    )
    cli.add_number(parser, "--rounds", 7, "in which the sides take turns")
    cli.add_number(parser, "--bundles", 20, "of each side in a round")
    cli.add_number(parser, "--requests", 500, "of each side in a round, where they come one at a time")
    cli.add_names(parser, "--tables", TABLES)
    add_flags(parser)
    values = vars(parser.parse_args(arguments))
    chosen = machine(parser, values.pop("device"), values.pop("torch_threads"))
    options = Options(**values, machine=chosen)
    if min(options.rounds, options.bundles, options.requests) < 1:
        parser.error("--rounds, --bundles and --requests must be at least 1")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and return 0 whether or not the goals are met."""
    options = parse(arguments)
    torch.set_num_threads(options.machine.torch_threads)
    try:
        with tempfile.TemporaryDirectory(prefix="handler-") as folder:
            measured = measure(options, Path(folder))
    finally:
        registry.close_all()
    results.publish(
        options.out,
        options.machine.results_name("handler"),
        lambda console: report.show(console, measured, options.machine),
        {
            "flags": {"rounds": options.rounds, "bundles": options.bundles, "requests": options.requests},
            **report.figures(measured, options.machine),
        },
    )
    return 0


def measure(options: Options, folder: Path) -> report.Measured:
    """Measure all tables that are asked for. `folder` is for models."""
    on, rounds, bundles = options.machine, options.rounds, options.bundles
    measured = report.Measured()
    if "cpu" in options.tables:
        cli.progress(f"processor time: {rounds} rounds")
        narrow = processor_time(example(), on, folder, rounds, bundles)
        wide = processor_time(linear(WIDE), on, folder, rounds, bundles, float32=True)
        measured = replace(measured, cpu=[*narrow, *wide])
    if "metrics" in options.tables:
        cli.progress(f"cost of metrics: {rounds} rounds")
        measured = replace(measured, metrics=cost_of_metrics(on, folder, rounds, bundles))
    if "single" in options.tables:
        cli.progress(f"one request at a time: {rounds} rounds")
        measured = replace(measured, single=one_at_a_time(mlp(), on, folder, rounds, options.requests))
    if "loads" in options.tables:
        measured = replace(measured, loads=loads(on, folder))
    return measured


if __name__ == "__main__":
    sys.exit(main())
