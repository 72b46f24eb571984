"""`python -m benchmarks.broker`: the embedded broker beside Google's emulator, one hop through each.

Open loop: a message's latency counts from when it should have been sent. Each broker runs in a process of its
own; the client runs here. Low rates are received with the client library's SubscriberClient, as applications
do. Rates above 500 msg/s are received with a low-level StreamingPull, because there the library's callbacks
would be what is measured.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from benchmarks.broker import report
from benchmarks.broker.measures import Row, measure
from benchmarks.harness import cli, results
from broker.testing import embedded_broker, google_emulator, why_no_emulator

WIDTH = 130  # of the table where there is no terminal


@dataclass(frozen=True)
class Options:
    """The command line. Rates in msg/s."""

    seconds: float
    rates: list[float]
    json: str | None


def parse(arguments: Sequence[str] | None) -> Options:
    """Return the options of a command line. Exit with code 2 for wrong flags."""
    parser = cli.new_parser("broker", __doc__)
    parser.add_argument("--seconds", type=float, default=10.0, help="length of a row (default %(default)s)")
    parser.add_argument(
        "--rates", type=float, nargs="+", default=[100.0, 1000.0, 5000.0], help="msg/s, one row each"
    )
    parser.add_argument("--json", metavar="FILE", help="also write the raw figures here")
    options = Options(**vars(parser.parse_args(arguments)))
    if options.seconds <= 0 or min(options.rates) <= 0:
        parser.error("--seconds and --rates must be above 0")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure every broker at every rate, and return 0."""
    options = parse(arguments)
    console = results.terminal(WIDTH)
    rows: list[Row] = []
    skipped = why_no_emulator()
    brokers = [embedded_broker] if skipped else [embedded_broker, google_emulator]
    for start in brokers:
        with start() as process:
            for number, rate in enumerate(options.rates):
                console.print(f"{process.name}: {rate:g} msg/s for {options.seconds:g} s", style="dim")
                rows.append(measure(process, rate, options.seconds, number))
    report.show(console, rows, skipped)
    if options.json:
        with open(options.json, "w") as file:
            json.dump({"rows": [asdict(row) for row in rows], "skipped": skipped}, file, indent=2)
    return 0


if __name__ == "__main__":
    sys.exit(main())
