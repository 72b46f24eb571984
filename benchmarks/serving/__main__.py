"""`python -m benchmarks.serving`: the endpoint container beside other model servers.

Ours, Triton, mosec, LitServe and BentoML serve the same model to the same load. Each peer gets an
environment of its own below build/, made at its first use. All servers of a table run at once and take turns,
round by round; the idle ones cost next to nothing. A server has the first core, or the first two, and the
load the next one, if there is any. Before each measurement 256 calls, 64 at once, are compared with the
model's own answers.

A run of all takes about half an hour. `--models`, `--cores` and `--bodies` measure a part, which `--add`
puts to what is measured already.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.harness import cli, results
from benchmarks.harness.machine import Machine, versions_line
from benchmarks.serving import report, wrk
from benchmarks.serving.bodies import BODIES
from benchmarks.serving.measures import Plan, measure, server_cores
from benchmarks.serving.served_models import TITLES, served_model
from benchmarks.serving.servers import SERVERS

AT_ONCE = (1, 8, 64)
CORES = ("1", "2")
_NAME = "serving"
_PACKAGES = ("torch", "numpy", "orjson", "httptools", "uvloop")


@dataclass(frozen=True)
class Options:
    """The command line."""

    out: Path
    rounds: int
    seconds: int
    servers: tuple[str, ...]
    models: tuple[str, ...]
    bodies: tuple[str, ...]
    cores: tuple[str, ...]
    quick: bool
    add: bool


def parse(arguments: Sequence[str] | None) -> Options:
    """Return the options of a command line. Exit with code 2 for wrong flags."""
    parser = cli.new_parser(_NAME, __doc__)
    cli.add_out(parser, "gets serving.json and serving.txt (default: benchmarks/results)")
    cli.add_number(parser, "--rounds", 3, "of turns")
    cli.add_number(parser, "--seconds", 2, "of each measurement, whole ones, after one to warm up")
    cli.add_names(parser, "--servers", SERVERS)
    cli.add_names(parser, "--models", TITLES)
    cli.add_names(parser, "--bodies", BODIES)
    cli.add_names(parser, "--cores", CORES)
    parser.add_argument("--quick", action="store_true", help="one round of one second")
    parser.add_argument("--add", action="store_true", help="keep the other cases that --out has")
    options = Options(**vars(parser.parse_args(arguments)))
    if options.seconds < 1 or options.rounds < 1:
        parser.error("--seconds and --rounds must be at least 1")
    return options


def plan(options: Options) -> Plan:
    """Return what is to be measured."""
    return Plan(
        servers=options.servers,
        bodies=options.bodies,
        cores=tuple(map(int, options.cores)),
        at_once=AT_ONCE,
        rounds=1 if options.quick else options.rounds,
        seconds=1 if options.quick else options.seconds,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and return 0 whether or not the goals are met; 2 where it cannot be measured here."""
    options = parse(arguments)
    planned = plan(options)
    try:
        setting = {
            "machine": str(Machine("cpu", 1)),
            "versions": versions_line(_PACKAGES),
            "load": f"{wrk.version()}, one thread, {wrk.DIFFERENT_BODIES} bodies in turn",
            **{title: server.how for title, server in SERVERS.items()},
        }
        server_cores(max(planned.cores))
        file = options.out / f"{_NAME}.json"
        measured = report.read(file.read_bytes()) if options.add and file.exists() else report.Measured()
        measured.with_more(report.Measured(setting=setting))
        for name in options.models:
            with tempfile.TemporaryDirectory() as folder:
                cells, forwards = measure(served_model(name, Path(folder)), planned)
            measured = measured.with_more(report.Measured(cells, {name: forwards}, setting))
    except (wrk.LoadError, ValueError) as error:
        cli.progress(f"benchmarks.serving: {error}")
        return 2
    figures = {"flags": {**asdict(options), "out": None}, **report.figures(measured)}
    results.publish(options.out, _NAME, lambda console: report.show(console, measured), figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
