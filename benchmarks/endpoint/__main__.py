"""`python -m benchmarks.endpoint`: the endpoint handlers of stock Beam and of this project, side by side.

Three tables: the client's processor time for a batch; the throughput of bundle threads before a server that
takes 50 ms a call; what one refused call costs. The server is a process of its own
(`benchmarks.endpoint.server`), the same for all; the client is this process, where the sides take turns
through their handlers' `run_inference`. How each side's calls travel, `benchmarks.endpoint.sides` says.
"""

import argparse
import logging
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.endpoint import report
from benchmarks.endpoint.measures import CALL, CPU_ROWS, cost_of_a_refusal, processor_time, throughput
from benchmarks.endpoint.process import EndpointProcess, endpoint_server
from benchmarks.endpoint.sides import OURS, OURS_JSON, STOCK, Sides
from benchmarks.harness import results
from benchmarks.local_engine.report import progress

TABLES = ("cpu", "throughput", "refusal")
REFUSALS = {"stock": 3, "ours": 10}  # stock waits 2.5 to 5 s each time


@dataclass(frozen=True)
class Flags:
    """The command line."""

    out: Path
    seconds: float
    rounds: int
    batches: int
    tables: tuple[str, ...]


def parse(arguments: Sequence[str] | None) -> Flags:
    """Flags from a command line; exits with code 2 for wrong ones."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.endpoint", description=__doc__.splitlines()[0], allow_abbrev=False
    )
    parser.add_argument(
        "--out",
        metavar="FOLDER",
        type=results.folder,
        default=results.FOLDER,
        help="gets endpoint.json and endpoint.txt (default: benchmarks/results)",
    )
    parser.add_argument(
        "--seconds", type=float, default=10.0, help="of each throughput (default: %(default)g)"
    )
    parser.add_argument(
        "--rounds", type=int, default=7, help="of processor time, sides taking turns (default: %(default)s)"
    )
    parser.add_argument(
        "--batches", type=int, default=20, help="of each side in a round (default: %(default)s)"
    )
    parser.add_argument(
        "--tables", metavar="X,X", type=_tables, default=TABLES, help=f"of {', '.join(TABLES)} (default: all)"
    )
    flags = Flags(**vars(parser.parse_args(arguments)))
    if not 0 < flags.seconds < math.inf or flags.rounds < 1 or flags.batches < 1:
        parser.error("--seconds must be above 0, --rounds and --batches at least 1")
    return flags


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0 when all was measured, whether or not the goals are met."""
    flags = parse(arguments)
    # Both sides log the calls that are refused on purpose, which would look like trouble of this command.
    logging.getLogger().setLevel(logging.CRITICAL)
    with endpoint_server() as server, Sides(server) as sides:
        measured = measure(server, sides, flags)
    figures: dict[str, object] = {
        "flags": {"seconds": flags.seconds, "rounds": flags.rounds, "batches": flags.batches},
        **report.figures(measured),
    }
    results.publish(flags.out, "endpoint", lambda console: report.show(console, measured), figures)
    return 0


def measure(server: EndpointProcess, sides: Sides, flags: Flags) -> report.Measured:
    """All tables that the flags name."""
    cpu, rates, refusals = [], [], []
    if "cpu" in flags.tables:
        progress(f"processor time: {flags.rounds} rounds")
        # As many instances a call as there are in the batch: one call on both sides.
        all_sides = [sides.open(title, CPU_ROWS) for title in (*STOCK, *OURS)]
        cpu = processor_time(all_sides, server, flags.rounds, flags.batches)
    if "throughput" in flags.tables:
        for threads in report.THROUGHPUT_GOALS:
            for title in (*STOCK, OURS_JSON):
                progress(f"throughput: {title}, threads: {threads}, {flags.seconds:g} s")
                rates.append(throughput(sides.open(title, CALL), server, threads, flags.seconds))
    if "refusal" in flags.tables:
        for title in (*STOCK, *OURS):
            times = REFUSALS["stock" if title in STOCK else "ours"]
            progress(f"a refused call: {title}, times: {times}")
            refusals.append(cost_of_a_refusal(sides.open(title, CALL), server, times))
    return report.Measured(cpu, rates, refusals)


def _tables(text: str) -> tuple[str, ...]:
    tables = tuple(table for table in TABLES if table in text.split(","))
    if not tables or not set(text.split(",")) <= set(TABLES):
        raise argparse.ArgumentTypeError(f"{text!r}: the tables are {', '.join(TABLES)}")
    return tables


if __name__ == "__main__":
    sys.exit(main())
