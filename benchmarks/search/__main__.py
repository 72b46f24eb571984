"""`python -m benchmarks.search`: the search for the highest rate, and its statistics, against the truth.

The systems are simulated: an M/M/1 queue, whose percentiles have a closed form; cliffs; systems that are not
monotone. Everything is seeded, so that the table is the same on every machine.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.harness import cli, results
from benchmarks.search import report
from benchmarks.search.measures import called_unstable, coverage, moved_by_slow_minute, searches
from benchmarks.search.systems import CLIFFS, FAINT_CLIFF, NOT_MONOTONE, QUEUE, queue

_OFF = (0.01, 100.0)
_SEEDS_OF_VERDICTS = 5


@dataclass(frozen=True)
class Options:
    """The command line.

    Attributes:
        seeds: Searches of each system from each start; five times as many queues for each other figure.
        out: The folder for the results.
    """

    seeds: int
    out: Path


def parse(arguments: Sequence[str] | None) -> Options:
    """Return the options of a command line. Exit with code 2 for wrong flags."""
    parser = cli.new_parser("search", __doc__ or "")
    cli.add_number(parser, "--seeds", 40, "of each system and start")
    cli.add_out(parser, "gets search.json and search.txt")
    options = Options(**vars(parser.parse_args(arguments)))
    if options.seeds < 1:
        parser.error("--seeds at least 1")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, publish the results, and return 0."""
    options = parse(arguments)
    seeds, many = options.seeds, _SEEDS_OF_VERDICTS * options.seeds
    found = [searches(QUEUE, off, seeds) for off in _OFF]
    cli.progress("the queue is searched")
    systems = (*CLIFFS, FAINT_CLIFF, *NOT_MONOTONE)
    others = [searches(system, 0.01, seeds) for system in systems]
    # A probe of at most a minute: 12,500 and 6,500 messages at the limit.
    others += [searches(queue(rate), off, seeds, probe_max_s=60) for rate in (300.0, 200.0) for off in _OFF]
    cli.progress("all systems are searched")
    measured = report.Measured(
        found,
        others,
        many,
        many - called_unstable(1.02, many),
        called_unstable(0.95, many),
        {
            f"{factor:g} times as slow, {seconds} s at a load of 0.8": moved_by_slow_minute(
                0.8, factor, seconds, seeds
            )[0]
            for factor, seconds in ((1.2, 300), (1.2, 600), (1.5, 600))
        },
        {
            f"of the p{100 * q:g} at a load of {load:g}": coverage(load, q, 60_000, many)
            for q in (0.5, 0.99)
            for load in (0.5, 0.8, 0.9)
        },
    )
    results.publish(
        options.out, "search", lambda console: report.show(console, measured), report.figures(measured)
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
