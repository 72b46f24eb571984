"""`python -m benchmarks.pacing`: how close to its schedule the load driver sends, and at what cost.

Each broker runs in a process of its own, and so does each sender. The null broker acknowledges and does
nothing else, so that what is measured is the driver. The embedded one really keeps the messages, for a
subscription that only the whole runs read.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.harness import cli, results
from benchmarks.harness.machine import versions, versions_line
from benchmarks.harness.verdict import figures
from benchmarks.pacing import report
from benchmarks.pacing.measures import Row, create, sender_alone, whole_run
from benchmarks.pacing.null_broker import null_broker
from broker.testing import embedded_broker
from loadtest.driver.pacer import GATHER_S

RATES = (1000.0, 5000.0, 20_000.0)
# http2 with and without gathering, and gRPC's own client as it would be used.
SIDES = (("http2", GATHER_S), ("http2", 0.0), ("grpc", GATHER_S))
# Without gathering, the embedded broker is at its limit here: each message is a call.
MOST_CALLS_S = 5000.0
_PACKAGES = ("grpcio", "h2", "numpy", "protobuf")


@dataclass(frozen=True)
class Options:
    """The command line."""

    seconds: float
    out: Path


def parse(arguments: Sequence[str] | None) -> Options:
    """Return the options of a command line. Exit with code 2 for wrong flags."""
    parser = cli.new_parser("pacing", __doc__)
    cli.add_number(parser, "--seconds", 5.0, "length of a row")
    cli.add_out(parser, "folder for pacing.txt and pacing.json (default: benchmarks/results)")
    options = Options(**vars(parser.parse_args(arguments)))
    if not cli.is_positive(options.seconds):
        parser.error("--seconds must be above 0")
    return options


def measure(seconds: float) -> list[Row]:
    """Measure every side at every rate, and whole runs of one and two drivers."""
    rows = []
    for start in (embedded_broker, null_broker):
        for publisher, gather_s in SIDES:
            for rate in RATES:
                if not gather_s and rate > MOST_CALLS_S:
                    continue
                # A broker of its own for each: what one row leaves is no burden to the next.
                with start() as process:
                    cli.progress(f"{process.name}, {publisher}, {gather_s * 1e3:g} ms: {rate:,.0f} msg/s")
                    if process.name == "embedded":
                        create(process.address)
                    rows.append(sender_alone(process, publisher, rate, seconds, gather_s))
    for drivers in (1, 2):
        for rate in (1000.0, 5000.0):
            with embedded_broker() as process:
                cli.progress(f"whole run, {drivers} drivers: {rate:,.0f} msg/s")
                create(process.address)
                rows.append(whole_run(process, rate, seconds, drivers))
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, show and write the table, and return 0 if all goals are met, else 1."""
    options = parse(arguments)
    rows = measure(options.seconds)
    where = f"{platform.machine()}, {os.cpu_count()} cores; {versions_line(_PACKAGES)}"
    verdicts = report.verdicts(rows)
    results.publish(
        options.out,
        "pacing",
        lambda console: report.show(console, rows, where),
        {
            "rows": [asdict(row) for row in rows],
            "verdicts": figures(verdicts),
            "machine": where,
            "versions": versions(_PACKAGES),
        },
    )
    return 0 if all(verdict.met for verdict in verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
