"""`python -m benchmarks.swap`: the latency of a live job while the model is swapped, and while it is not.

The job, the broker and the load driver of `./launch.sh local`, each a process; with --mode=endpoint the
container, too, whose model it is then. The pointer is written every
few seconds, to the other of two models whose answers differ. A swap lasts from then until all results are
of the new model. Each result is held against what the model that it names must answer.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.harness import cli, results
from benchmarks.swap import report
from benchmarks.swap.job import drive
from benchmarks.swap.measures import find_swaps, measure
from pipeline.options.job_options import ENDPOINT, LOCAL


@dataclass(frozen=True)
class Options:
    """The command line.

    Attributes:
        mode: Where the model is: local, in the job; endpoint, in the container.
        rate: In msg/s.
        swaps: How many.
        every: Seconds between two swaps.
    """

    mode: str
    rate: float
    swaps: int
    every: float
    out: Path


def parse(arguments: Sequence[str] | None) -> Options:
    """Return the options of a command line. Exit with code 2 for wrong flags."""
    parser = cli.new_parser("swap", __doc__)
    parser.add_argument(
        "--mode",
        choices=(LOCAL, ENDPOINT),
        default=LOCAL,
        help="where the model is: in the job, or in the container",
    )
    cli.add_number(parser, "--rate", 300.0, "msg/s")
    cli.add_number(parser, "--swaps", 8, "how many")
    cli.add_number(parser, "--every", 8.0, "seconds apart")
    cli.add_out(parser, "gets swap.json and swap.txt")
    options = Options(**vars(parser.parse_args(arguments)))
    if options.rate <= 0 or options.swaps < 1 or options.every < 2:
        parser.error("--rate above 0, --swaps at least 1, --every at least 2")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure. Return 0 whether or not the goals are met, and 1 when a swap did not happen."""
    options = parse(arguments)
    with tempfile.TemporaryDirectory(prefix="swap-") as folder:
        driven = drive(options.mode, options.rate, options.swaps, options.every, Path(folder))
    swaps = find_swaps(driven.deliveries, driven.written)
    if len(swaps) < options.swaps:
        cli.progress(f"{options.swaps - len(swaps)} of {options.swaps} swaps did not happen")
        return 1
    measured = measure(options.mode, options.rate, driven.counts, driven.deliveries, swaps)
    results.publish(
        options.out, "swap", lambda console: report.show(console, measured), report.figures(measured)
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
