"""`python -m benchmarks.sustained`: stock Beam's job and this project's, searched by the same code.

Each search has a broker and a job of its own. Ours is searched as often as stock, and once more: how far its
answers are apart says how much an answer can be trusted.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.harness import cli, results
from benchmarks.sustained import report
from benchmarks.sustained.measures import ORDER, How, search_side
from loadtest.interrupt import stop_on_signals
from loadtest.search.answer import Settings
from loadtest.search.objectives import ObjectiveError, Tier


@dataclass(frozen=True)
class Options:
    """The command line.

    Attributes:
        objective: To be met, such as "p99<100ms,lost=0".
        start: First rate of each search, messages a second.
        probe_s: Seconds of a probe at least.
        probe_max_s: Seconds of a probe at most.
        out: The folder for the results.
    """

    objective: str
    start: float
    probe_s: float
    probe_max_s: float
    out: Path


def parse(arguments: Sequence[str] | None) -> tuple[Options, Tier]:
    """Return the options of a command line, and the tier. Exit with code 2 for wrong flags."""
    parser = cli.new_parser("sustained", __doc__ or "")
    parser.add_argument("--objective", default="p99<100ms", help="to be met (default: p99<100ms)")
    cli.add_number(parser, "--start", 200.0, "first rate of each search, messages a second")
    cli.add_number(parser, "--probe_s", 16.0, "seconds of a probe at least")
    cli.add_number(parser, "--probe_max_s", 32.0, "seconds of a probe at most")
    cli.add_out(parser, "gets sustained.json and sustained.txt")
    options = Options(**vars(parser.parse_args(arguments)))
    if not all(cli.is_positive(number) for number in (options.start, options.probe_s, options.probe_max_s)):
        parser.error("--start, --probe_s and --probe_max_s above 0")
    try:
        return options, Tier.parse(options.objective)
    except ObjectiveError as error:
        parser.error(str(error))


def main(arguments: Sequence[str] | None = None) -> int:
    """Search each side, publish the results, and return 0; 1 where a search has no answer."""
    options, tier = parse(arguments)
    settings = Settings(
        options.start, options.probe_s, options.probe_max_s, seed=1, least_messages=tier.least_messages
    )
    with stop_on_signals() as stop:
        found = [search_side(side, How(tier, settings, stop)) for side in ORDER if not stop.is_set()]
    results.publish(
        options.out,
        "sustained",
        lambda console: report.show(console, tier, found),
        report.figures(tier, settings, found),
    )
    return 0 if all(one.claim is not None for one in found) else 1


if __name__ == "__main__":
    sys.exit(main())
