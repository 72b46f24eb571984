"""`python -m benchmarks.endpoint`: the endpoint handlers of stock Beam and of this project, side by side.

Three tables: the client's processor time for a batch; the throughput of bundle threads before a server that
takes 50 ms a call; what one refused call costs. The server is a process of its own
(`benchmarks.endpoint.server`), the same for all. The client is this process, where the sides take turns
through their handlers' `run_inference`. `benchmarks.endpoint.sides` says how each side's calls travel.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.endpoint import report
from benchmarks.endpoint.measures import CALL, CPU_ROWS, cost_of_a_refusal, processor_time, throughput
from benchmarks.endpoint.process import EndpointProcess, endpoint_server
from benchmarks.endpoint.sides import OURS, OURS_JSON, STOCK, Sides
from benchmarks.harness import cli, results

TABLES = ("cpu", "throughput", "refusal")
STOCK_REFUSALS = 3  # stock waits 2.5 to 5 s each time
OUR_REFUSALS = 10


@dataclass(frozen=True)
class Options:
    """The command line."""

    out: Path
    seconds: float
    rounds: int
    batches: int
    tables: tuple[str, ...]


def parse(arguments: Sequence[str] | None) -> Options:
    """Return the options of a command line. Exit with code 2 for wrong flags."""
    parser = cli.new_parser("endpoint", __doc__)
    cli.add_out(parser, "gets endpoint.json and endpoint.txt (default: benchmarks/results)")
    cli.add_number(parser, "--seconds", 10.0, "of each throughput")
    cli.add_number(parser, "--rounds", 7, "of processor time, sides taking turns")
    cli.add_number(parser, "--batches", 20, "of each side in a round")
    cli.add_names(parser, "--tables", TABLES)
    options = Options(**vars(parser.parse_args(arguments)))
    if not cli.is_positive(options.seconds) or options.rounds < 1 or options.batches < 1:
        parser.error("--seconds must be above 0, --rounds and --batches at least 1")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and return 0 whether or not the goals are met."""
    options = parse(arguments)
    # Both sides log the calls that are refused on purpose, which would look like trouble of this command.
    logging.getLogger().setLevel(logging.CRITICAL)
    with endpoint_server() as server, Sides(server) as sides:
        measured = measure(server, sides, options)
    figures: dict[str, object] = {
        "flags": {"seconds": options.seconds, "rounds": options.rounds, "batches": options.batches},
        **report.figures(measured),
    }
    results.publish(options.out, "endpoint", lambda console: report.show(console, measured), figures)
    return 0


def measure(server: EndpointProcess, sides: Sides, options: Options) -> report.Measured:
    """Measure all tables that are asked for."""
    cpu, rates, refusals = [], [], []
    if "cpu" in options.tables:
        cli.progress(f"processor time: {options.rounds} rounds")
        # As many instances a call as there are in the batch: one call on both sides.
        all_sides = [sides.open(title, CPU_ROWS) for title in (*STOCK, *OURS)]
        cpu = processor_time(all_sides, server, options.rounds, options.batches)
    if "throughput" in options.tables:
        for threads in report.THROUGHPUT_GOALS:
            for title in (*STOCK, OURS_JSON):
                cli.progress(f"throughput: {title}, threads: {threads}, {options.seconds:g} s")
                rates.append(throughput(sides.open(title, CALL), server, threads, options.seconds))
    if "refusal" in options.tables:
        for title in (*STOCK, *OURS):
            times = STOCK_REFUSALS if title in STOCK else OUR_REFUSALS
            cli.progress(f"a refused call: {title}, times: {times}")
            refusals.append(cost_of_a_refusal(sides.open(title, CALL), server, times))
    return report.Measured(cpu, rates, refusals)


if __name__ == "__main__":
    sys.exit(main())
