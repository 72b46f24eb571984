"""`python -m benchmarks.worker`: what a message costs in a Dataflow worker, stock Beam beside this project.

Each side is staged by DataflowRunner, offline, and runs in a real SDK harness process that takes and gives
serialized PubsubMessages over the Fn API, as with the service's native Pub/Sub steps around it.
"""

from __future__ import annotations

import math
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.harness import cli, results
from benchmarks.harness.machine import Machine
from benchmarks.worker import report
from benchmarks.worker.measures import Cells, Row, beside_the_harness, measure
from benchmarks.worker.sides import SIDES, traffics

BUNDLES = ("1", "10", "100", "1000")
THREADS = ("1", "12")
_LEAST_TURN_S = 0.2


@dataclass(frozen=True)
class Options:
    """The command line."""

    out: Path
    workloads: tuple[str, ...]
    cells: Cells


def parse(arguments: Sequence[str] | None) -> Options:
    """Return the options of a command line. Exit with code 2 for wrong flags."""
    parser = cli.new_parser("worker", __doc__)
    cli.add_out(parser, "gets worker.json and worker.txt (default: benchmarks/results)")
    cli.add_number(parser, "--rounds", 3, "in which the sides take turns")
    cli.add_number(parser, "--turn_s", 1.0, "seconds of a turn")
    cli.add_names(parser, "--sides", SIDES)
    cli.add_names(parser, "--workloads", tuple(traffics()))
    cli.add_names(parser, "--bundles", BUNDLES)
    cli.add_names(parser, "--threads", THREADS)
    values = parser.parse_args(arguments)
    if values.rounds < 1:
        parser.error("--rounds must be at least 1")
    if not _LEAST_TURN_S <= values.turn_s < math.inf:
        parser.error(
            f"--turn_s must be at least {_LEAST_TURN_S}: processor time is counted in steps of 10 ms"
        )
    cells = Cells(
        values.sides,
        tuple(int(size) for size in values.bundles),
        tuple(int(count) for count in values.threads),
        values.rounds,
        values.turn_s,
    )
    return Options(values.out, values.workloads, cells)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and return 0 whether or not the goals are met."""
    options = parse(arguments)
    known = traffics()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="worker-") as folder, beside_the_harness():
        for name in options.workloads:
            rows += measure(name, known[name], options.cells, Path(folder))
    machine = Machine("cpu", torch_threads=1)
    results.publish(
        options.out,
        "worker",
        lambda console: report.show(console, rows, known, machine),
        {
            "flags": {"rounds": options.cells.rounds, "turn_s": options.cells.turn_s},
            **report.figures(rows, machine),
        },
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
