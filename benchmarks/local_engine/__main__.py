"""`python -m benchmarks.local_engine`: how much a job carries on one machine, stock Beam beside this project.

Three jobs, each a process of its own, between the same broker (another process) and the same load driver
(this process): (a) stock Beam, (b) this project's source and sink around stock's model handler, (c) this
project's job. Each climbs a fixed ladder of rates until a step fails. A step is sustained when every request
sent has its result and the backlog grows by less than 1 % of the rate.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson

from benchmarks.harness import cli, results
from benchmarks.harness.jobs import pubsub
from benchmarks.local_engine import report
from benchmarks.local_engine.ladder import Row
from benchmarks.local_engine.measures import Climber
from benchmarks.local_engine.sides import SIDES
from loadtest.interrupt import stop_on_signals

WIDTH = 100  # of the tables where there is no terminal


@dataclass(frozen=True)
class Options:
    """The command line. Times in seconds, rates in msg/s. Without rates each row has its side's ladder."""

    json: Path | None
    seconds: float
    warmup: float
    rates: tuple[float, ...] | None
    rows: tuple[str, ...]


def parse(arguments: Sequence[str] | None) -> Options:
    """Return the options of a command line. Exit with code 2 for wrong flags."""
    parser = cli.new_parser("local_engine", __doc__)
    parser.add_argument("--json", metavar="FILE", type=_file, help="also write the raw figures here")
    cli.add_number(parser, "--seconds", 30.0, "measured at each step")
    cli.add_number(parser, "--warmup", 5.0, "seconds sent before that")
    parser.add_argument(
        "--rates", metavar="N,N", type=_rates, help="msg/s, for every row (default: a ladder for each row)"
    )
    cli.add_names(parser, "--rows", SIDES)
    options = Options(**vars(parser.parse_args(arguments)))
    # Below a second there are too few samples of the backlog for a slope.
    if not 1 <= options.seconds < math.inf or not 0 <= options.warmup < math.inf:
        parser.error("--seconds must be at least 1 and --warmup at least 0")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure. Return 0 when every row was climbed, 1 when a job failed, 130 after Ctrl-C."""
    options = parse(arguments)
    rows = [Row(key, SIDES[key].title, options.rates or SIDES[key].ladder) for key in options.rows]
    with stop_on_signals() as stop, pubsub() as broker:
        others = {"broker": broker.group, "driver": os.getpid()}
        climber = Climber(options.warmup, options.seconds, others, stop)
        for row in rows:
            with tempfile.TemporaryDirectory(prefix="local-engine-") as folder:
                climber.climb(row, Path(folder))
    report.show(results.terminal(WIDTH), rows)
    if options.json:
        figures = {"flags": options, "interrupted": stop.is_set(), **report.figures(rows)}
        options.json.write_bytes(orjson.dumps(figures, default=str, option=orjson.OPT_INDENT_2))
    if stop.is_set():
        return 130
    return 1 if any(row.error for row in rows) else 0


def _file(text: str) -> Path:
    # Checked now rather than after a quarter of an hour.
    path = Path(text)
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise argparse.ArgumentTypeError(f"{text!r} is not a file in a folder that exists")
    return path


def _rates(text: str) -> tuple[float, ...]:
    rates = sorted({float(part) for part in text.split(",")})
    if not 0 < rates[0] <= rates[-1] < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r}: each rate must be above 0")
    return tuple(rates)


if __name__ == "__main__":
    sys.exit(main())
