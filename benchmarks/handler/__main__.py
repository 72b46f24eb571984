"""`python -m benchmarks.handler`: what a message costs in process, stock Beam beside this project.

The sides take turns, each through Beam's own BatchElements and RunInference as one bundle thread runs them,
with metrics that are counted. Both load the same model: a state_dict and its class, which stock takes too.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from benchmarks.handler import report
from benchmarks.handler.measures import cost_of_metrics, loads, one_at_a_time, processor_time
from benchmarks.harness import results
from benchmarks.harness.machine import Machine, add_flags, machine
from benchmarks.harness.models import example, linear, mlp
from benchmarks.local_engine.report import progress
from pipeline.process import registry

TABLES = ("cpu", "metrics", "single", "loads")
WIDE = 1024  # features


@dataclass(frozen=True)
class Flags:
    """The command line."""

    out: Path
    rounds: int
    bundles: int
    requests: int
    tables: tuple[str, ...]
    machine: Machine


def parse(arguments: Sequence[str] | None) -> Flags:
    """Flags from a command line; exits with code 2 for wrong ones."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.handler", description=__doc__.splitlines()[0], allow_abbrev=False
    )
    parser.add_argument(
        "--out",
        metavar="FOLDER",
        type=results.folder,
        default=results.FOLDER,
        help="gets handler.json and handler.txt, on a GPU handler-gpu (default: benchmarks/results)",
    )
    parser.add_argument(
        "--rounds", type=int, default=7, help="in which the sides take turns (default: %(default)s)"
    )
    parser.add_argument(
        "--bundles", type=int, default=20, help="of each side in a round (default: %(default)s)"
    )
    parser.add_argument(
        "--requests",
        type=int,
        default=500,
        help="of each side in a round, where they come one at a time (default: %(default)s)",
    )
    parser.add_argument(
        "--tables", metavar="X,X", type=_tables, default=TABLES, help=f"of {', '.join(TABLES)} (default: all)"
    )
    add_flags(parser)
    values = vars(parser.parse_args(arguments))
    chosen = machine(parser, values.pop("device"), values.pop("torch_threads"))
    flags = Flags(**values, machine=chosen)
    if min(flags.rounds, flags.bundles, flags.requests) < 1:
        parser.error("--rounds, --bundles and --requests must be at least 1")
    return flags


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0 when all was measured, whether or not the goals are met."""
    flags = parse(arguments)
    torch.set_num_threads(flags.machine.torch_threads)
    try:
        with tempfile.TemporaryDirectory(prefix="handler-") as folder:
            measured = measure(flags, Path(folder))
    finally:
        registry.close_all()
    results.publish(
        flags.out,
        "handler" if flags.machine.device == "cpu" else "handler-gpu",
        lambda console: report.show(console, measured, flags.machine),
        {
            "flags": {"rounds": flags.rounds, "bundles": flags.bundles, "requests": flags.requests},
            **report.figures(measured, flags.machine),
        },
    )
    return 0


def measure(flags: Flags, folder: Path) -> report.Measured:
    """All tables that the flags name. `folder` is for models."""
    on = flags.machine
    measured = report.Measured()
    if "cpu" in flags.tables:
        progress(f"processor time: {flags.rounds} rounds")
        narrow = processor_time(example(), on, folder, flags.rounds, flags.bundles)
        wide = processor_time(linear(WIDE), on, folder, flags.rounds, flags.bundles, float32=True)
        measured = replace(measured, cpu=[*narrow, *wide])
    if "metrics" in flags.tables:
        progress(f"cost of metrics: {flags.rounds} rounds")
        measured = replace(measured, metrics=cost_of_metrics(on, folder, flags.rounds, flags.bundles))
    if "single" in flags.tables:
        progress(f"one request at a time: {flags.rounds} rounds")
        measured = replace(measured, single=one_at_a_time(mlp(), on, folder, flags.rounds, flags.requests))
    if "loads" in flags.tables:
        measured = replace(measured, loads=loads(on, folder))
    return measured


def _tables(text: str) -> tuple[str, ...]:
    tables = tuple(table for table in TABLES if table in text.split(","))
    if not tables or not set(text.split(",")) <= set(TABLES):
        raise argparse.ArgumentTypeError(f"{text!r}: the tables are {', '.join(TABLES)}")
    return tables


if __name__ == "__main__":
    sys.exit(main())
