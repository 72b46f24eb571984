"""Every flag of `loadtest endpoint`: of the job those that name an endpoint, of a run, its own."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import fields
from typing import Any

from loadtest.options import Kind, RunOptions
from loadtest.records import RecordsError
from loadtest.schedule.trace import TraceError
from pipeline.options import values
from pipeline.options.job_options import FLAGS as JOB_FLAGS
from pipeline.options.job_options import Flag

# select, by which the driver wakes on time, takes file descriptors below 1,024.
MOST_CONNECTIONS = 512
DEFAULT_OBJECTIVE = "p99<100ms"
OF_A_SCHEDULE = ("rate", "duration", "schedule", "to_rate", "steps", "period", "width", "trace", "warmup")

_OF_THE_JOB = (
    "endpoint", "endpoint_location", "endpoint_url", "endpoint_token_host", "endpoint_protocol",
    "endpoint_model", "endpoint_timeout_s", "input_shape",
)  # fmt: skip
_OF_A_RUN = ("input", "out", "seed", "payload_seed", "ready_timeout", *OF_A_SCHEDULE)


def _numbers(low: int, high: int) -> Callable[[str], tuple[int, ...]]:
    """Return a parser of whole numbers with commas between them, ascending and each once."""
    one = values.integer(low, high)

    def parse(text: str) -> tuple[int, ...]:
        return tuple(sorted({one(part.strip()) for part in text.split(",")}))

    return parse


def _positive(text: str) -> float:
    """Return a number above 0.

    Raises:
        ValueError: It is none.
    """
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise ValueError(f"{text!r} is not a number above 0")
    return number


def _of_run(name: str) -> Flag:
    option = next(field for field in fields(RunOptions) if field.name == name)
    kind: Kind = option.metadata["kind"]

    def parse(text: str) -> Any:
        try:
            return kind.convert(text)
        except (RecordsError, TraceError):
            raise
        except ValueError:
            raise ValueError(f"{text!r} is not {kind.expected}") from None

    required = name in ("input", "out")
    return Flag(name, parse, option.metadata["help"], None, required)


FLAGS: tuple[Flag, ...] = (
    *(flag for flag in JOB_FLAGS if flag.name in _OF_THE_JOB),
    Flag("project", str, "Google Cloud project of --endpoint, where that is an id", None, False),
    *(_of_run(name) for name in _OF_A_RUN),
    Flag(
        "rows",
        _numbers(1, 100_000),
        "batch sizes, instances in a call (default: 1,8,32,128; 1 for a schedule)",
        None,
        False,
    ),
    Flag(
        "connections",
        _numbers(1, MOST_CONNECTIONS),
        "numbers of connections to compare; the largest fills the endpoint",
        "1,2,4,8",
        False,
    ),
    Flag(
        "max_connections",
        values.integer(1, MOST_CONNECTIONS),
        "most calls in flight of a schedule; further ones wait for a connection, which is in their latency",
        "64",
        False,
    ),
    Flag(
        "seconds",
        values.seconds,
        "of each measurement of a batch size or a number of connections",
        "3",
        False,
    ),
    Flag(
        "start",
        _positive,
        "first rate of the search, calls/s (default: a quarter of what was possible)",
        None,
        False,
    ),
    Flag("probe_s", values.seconds, "seconds of a probe of the search, at least", "10", False),
    Flag(
        "probe_max_s",
        values.seconds,
        "seconds of a probe at most, while 60,000 calls take longer",
        "30",
        False,
    ),
    Flag("budget", values.seconds, "seconds of all probes of the search together", "600", False),
)
SWITCHES = {
    "json": "print the figures as JSON instead of tables",
    "quiet": "no progress on the standard error",
}
NAMES = (*(flag.name for flag in FLAGS), "objective", *SWITCHES)


def make_parser(prog: str = "./launch.sh loadtest endpoint", where: str = "") -> argparse.ArgumentParser:
    """Return the parser of the flags; it takes all values as text, so that all mistakes are found.

    Args:
        prog: The command, for its help.
        where: For the help, how it comes to its endpoint.
    """
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Load an endpoint or a container directly: batch sizes, connections, and the rate where "
        f"it degrades; or, with --rate or --trace, one schedule. {where}",
        allow_abbrev=False,
    )
    for flag in FLAGS:
        told = flag.help.replace("%", "%%")
        default = "" if flag.default is None else f" (default: {flag.default})"
        parser.add_argument(f"--{flag.name}", metavar=flag.name.upper(), help=told + default)
    parser.add_argument(
        "--objective",
        action="append",
        metavar="OBJECTIVE",
        help=f"such as p99<250ms or errors=0; repeat it: all must be met (default: {DEFAULT_OBJECTIVE})",
    )
    for name, told in SWITCHES.items():
        parser.add_argument(f"--{name}", action="store_true", help=told)
    return parser
