"""`python -m benchmarks.planner`: the planner against closed forms, published rows, events and its own cost.

All but processor time and memory is seeded, so that it is the same on every machine.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.harness import cli, results
from benchmarks.planner import measures, report
from benchmarks.planner.exact_servers import overload_rows
from benchmarks.planner.fluid_table import fluid_rows

TABLES = ("closed_forms", "calibration", "sensitivity", "container", "speed", "overload", "fluid")


@dataclass(frozen=True)
class Options:
    """The command line.

    Attributes:
        messages: Of each queue of known latency.
        seed: Of all that is random.
        tables: Of `TABLES`.
        out: The folder for the results.
    """

    messages: int
    seed: int
    tables: tuple[str, ...]
    out: Path


def parse(arguments: Sequence[str] | None) -> Options:
    """Return the options of a command line. Exit with code 2 for wrong flags."""
    parser = cli.new_parser("planner", __doc__ or "")
    cli.add_number(parser, "--messages", 300_000, "of each queue of known latency")
    cli.add_number(parser, "--seed", 5, "of all that is random")
    cli.add_names(parser, "--tables", TABLES)
    cli.add_out(parser, "gets planner.json and planner.txt")
    options = Options(**vars(parser.parse_args(arguments)))
    if options.messages < 1000:
        parser.error("--messages at least 1000")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, publish the results, and return 0."""
    options = parse(arguments)
    wanted, seed = options.tables, options.seed
    # First: a process inherits its parent's peak of memory, which the other tables raise.
    fluid = fluid_rows() if "fluid" in wanted else ()
    measured = report.Measured(
        measures.closed_forms(options.messages, seed) if "closed_forms" in wanted else (),
        measures.calibrations(seed) if "calibration" in wanted else (),
        measures.sensitivity(seed) if "sensitivity" in wanted else (),
        measures.containers(seed) if "container" in wanted else (),
        measures.speeds() if "speed" in wanted else (),
        overload_rows() if "overload" in wanted else (),
        fluid,
    )
    results.publish(
        options.out, "planner", lambda console: report.show(console, measured), report.figures(measured)
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
