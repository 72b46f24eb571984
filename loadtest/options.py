"""Every flag of `python -m loadtest run`, its kind, its help and its rules."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import MISSING, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from loadtest.records import Records, RecordsError, read_records
from loadtest.schedule.shapes import SHAPES, Schedule
from loadtest.schedule.trace import NO_TRACE, Trace, TraceError, read_trace
from pipeline.options.spelling import unknown_flags, with_underscores

MAX_MESSAGES = 50_000_000  # about 4 GB of per-message figures

MAX_DRIVERS = 64


@dataclass(frozen=True)
class Kind:
    """How the text of a flag becomes an option.

    Attributes:
        convert: From the text; raises ValueError if it is not one of these.
        expected: What it should be, for the message then.
        stand_in: In place of a value that is missing or unreadable and reported as such, so that the other
            checks still run.
    """

    convert: Callable[[str], object]
    expected: str
    stand_in: object


NUMBER = Kind(float, "a number", stand_in=1.0)
INTEGER = Kind(int, "an integer", stand_in=1)
TEXT = Kind(str, "text", stand_in="")
PATH = Kind(Path, "a path", stand_in=Path())
# Read once, by whoever parses the flag: a pipe can be read no more than that.
RECORDS = Kind(lambda text: read_records(Path(text)), "a JSON Lines file", stand_in=Records([], [], []))
TRACE = Kind(lambda text: read_trace(Path(text)), "a file of times", stand_in=Trace(np.zeros(1)))
# Where None stands for a value of ours.
OPTIONAL_NUMBER = Kind(float, "a number", stand_in=None)
OPTIONAL_INTEGER = Kind(int, "an integer", stand_in=None)

OF_TRACE = ("rate", "duration")
"""Flags whose values a trace brings along."""


def _flag(kind: Kind, help: str) -> dict[str, Any]:
    """Return what makes a field of `RunOptions` a flag, as the field's metadata."""
    return {"kind": kind, "help": help}


@dataclass(frozen=True)
class RunOptions:
    """What one run of the load driver needs. Nothing is checked on construction: ask `problems()`."""

    project: str = field(metadata=_flag(TEXT, "Google Cloud project id (any, with an emulator)"))
    input_topic: str = field(metadata=_flag(TEXT, "topic the job reads, short id or projects/P/topics/T"))
    output_subscription: str = field(
        metadata=_flag(TEXT, "subscription of the results, short id or projects/P/subscriptions/S")
    )
    rate: float = field(metadata=_flag(NUMBER, "messages a second (of a trace: its own)"))
    duration: float = field(
        metadata=_flag(NUMBER, "seconds to send for, after the warm-up (of a trace: its own)")
    )
    input: Records = field(
        metadata=_flag(RECORDS, "JSON Lines file of request bodies, sent in order and cycled")
    )
    out: Path = field(metadata=_flag(PATH, "folder for summary.json, results.jsonl and dead_letters.jsonl"))
    dead_letter_subscription: str = field(
        default="", metadata=_flag(TEXT, "subscription of the dead letters (default: none is read)")
    )
    schedule: str = field(
        default="constant",
        metadata=_flag(TEXT, f"{', '.join(SHAPES)} (default: constant)"),
    )
    to_rate: float | None = field(
        default=None,
        metadata=_flag(
            NUMBER,
            "messages a second that ramp and step end at, and that burst, spike and sine rise to from --rate",
        ),
    )
    steps: int | None = field(
        default=None, metadata=_flag(OPTIONAL_INTEGER, "levels of step from --rate to --to_rate (default: 5)")
    )
    period: float | None = field(
        default=None,
        metadata=_flag(
            OPTIONAL_NUMBER,
            "seconds from burst to burst (default: a fifth of --duration), or of one sine (default: all)",
        ),
    )
    width: float | None = field(
        default=None,
        metadata=_flag(
            OPTIONAL_NUMBER,
            "seconds of a burst (default: a tenth of --period), or of the spike in the middle "
            "(default: a tenth of --duration)",
        ),
    )
    trace: Trace = field(
        default=NO_TRACE,
        metadata=_flag(
            TRACE,
            "file that --schedule=trace replays: on each line a number of seconds, or a JSON object with "
            "timestamp or time (seconds, or as 2026-01-31T12:00:00Z) or timestamp_ms",
        ),
    )
    seed: int = field(default=1, metadata=_flag(INTEGER, "of the arrivals of poisson (default: 1)"))
    payload_seed: int | None = field(
        default=None,
        metadata=_flag(
            OPTIONAL_INTEGER, "shuffles the requests of --input (default: they keep the file's order)"
        ),
    )
    drivers: int = field(
        default=1,
        metadata=_flag(INTEGER, "processes that send, each a part of the schedule (default: 1)"),
    )
    warmup: float = field(
        default=0.0,
        metadata=_flag(NUMBER, "seconds sent beforehand and left out of latencies and rates (default: 0)"),
    )
    drain_timeout: float = field(
        default=60.0,
        metadata=_flag(NUMBER, "seconds to wait for stragglers after the last send (default: 60)"),
    )
    ready_timeout: float = field(
        default=120.0,
        metadata=_flag(NUMBER, "seconds to wait for the answer to a first probe (default: 120)"),
    )

    @property
    def topic_path(self) -> str:
        """Full name of the input topic."""
        return resource_path(self.project, "topics", self.input_topic)

    @property
    def output_path(self) -> str:
        """Full name of the subscription of the results."""
        return resource_path(self.project, "subscriptions", self.output_subscription)

    @property
    def dead_letter_path(self) -> str | None:
        """Full name of the subscription of the dead letters, if one is read."""
        if not self.dead_letter_subscription:
            return None
        return resource_path(self.project, "subscriptions", self.dead_letter_subscription)

    @property
    def arrivals(self) -> Schedule:
        """What decides when each message is due."""
        return Schedule(
            self.schedule, self.rate, self.duration, self.warmup, self.seed,
            self.to_rate, self.steps, self.period, self.width, self.trace,
        )  # fmt: skip

    def problems(self) -> list[str]:
        """Return one line for each thing that is wrong, naming the flag and what to give."""
        found = []
        if not self.project:
            found.append("--project is missing: give the Google Cloud project id")
        found += _name_problems("--input_topic", "topics", self.input_topic, required=True)
        found += _name_problems(
            "--output_subscription", "subscriptions", self.output_subscription, required=True
        )
        found += _name_problems(
            "--dead_letter_subscription", "subscriptions", self.dead_letter_subscription, required=False
        )
        if self.output_subscription and self.dead_letter_path == self.output_path:
            found.append(
                "--dead_letter_subscription equals --output_subscription: give the dead-letter topic's own"
            )
        for name, value, zero in (
            ("rate", self.rate, False), ("duration", self.duration, False), ("warmup", self.warmup, True),
            ("drain_timeout", self.drain_timeout, True), ("ready_timeout", self.ready_timeout, False),
        ):  # fmt: skip
            if not math.isfinite(value) or value < 0 or (value == 0 and not zero):
                found.append(f"--{name}={value:g} must be a number {'of at least' if zero else 'above'} 0")
        found += self.arrivals.problems() or self._too_many()
        for name, seed in (("seed", self.seed), ("payload_seed", self.payload_seed)):
            if seed is not None and seed < 0:
                found.append(f"--{name}={seed} must be an integer of at least 0")
        if not 1 <= self.drivers <= MAX_DRIVERS:
            found.append(f"--drivers={self.drivers} must be from 1 to {MAX_DRIVERS}")
        if not self.out.name:
            found.append("--out is missing: give a folder for the results")
        elif any(place.exists() and not place.is_dir() for place in (self.out, *self.out.parents)):
            found.append(f"--out={self.out} is, or lies under, a file: give a folder")
        return found

    def _too_many(self) -> list[str]:
        seconds = (self.rate, self.duration, self.warmup)
        if not all(map(math.isfinite, seconds)) or min(self.rate, self.duration) <= 0:
            return []
        if self.arrivals.due() <= MAX_MESSAGES:
            return []
        if self.schedule == "trace":
            return [f"--trace holds above {MAX_MESSAGES:,} messages: give a part of it"]
        return [f"--rate times --duration is above {MAX_MESSAGES:,} messages: lower one of them"]


def resource_path(project: str, collection: str, name: str) -> str:
    """Return the full Pub/Sub name for a short id; a full name is returned as it is."""
    return name if "/" in name else f"projects/{project}/{collection}/{name}"


def _name_problems(flag: str, collection: str, name: str, *, required: bool) -> list[str]:
    full = f"projects/PROJECT/{collection}/ID"
    if not name:
        return [f"{flag} is missing: give a short id or {full}"] if required else []
    parts = name.split("/")
    if len(parts) > 1 and (
        len(parts) != 4 or parts[0] != "projects" or parts[2] != collection or not parts[1]
    ):
        return [f"{flag}={name} is not a name of {collection}: give a short id or {full}"]
    identifier = parts[-1]
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9\-_.~+%]{2,254}", identifier) or identifier.startswith("goog"):
        return [
            f"{flag}={name}: an id has 3 to 255 letters, digits or -_.~+%, beginning with a letter, not goog"
        ]
    return []


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the flags; it takes all values as text, so that all mistakes are found."""
    parser = argparse.ArgumentParser(
        prog="python -m loadtest run",
        description="Send requests on a schedule, collect the answers, and say how late they were.",
        allow_abbrev=False,
    )
    for option in fields(RunOptions):
        parser.add_argument(f"--{option.name}", metavar=option.name.upper(), help=option.metadata["help"])
    return parser


def parse(arguments: Sequence[str]) -> tuple[RunOptions, list[str]]:
    """Return the options and every problem with them; they are usable if there is none."""
    names = [option.name for option in fields(RunOptions)]
    named, unknown = make_parser().parse_known_args(with_underscores(arguments, names))
    texts: dict[str, str | None] = vars(named)
    found = unknown_flags(unknown, names)
    values: dict[str, object] = {}
    traced = texts["schedule"] == "trace"
    for option in fields(RunOptions):
        kind: Kind = option.metadata["kind"]
        text = texts[option.name]
        # Empty is how workflow tools write what is not given.
        if not text and option.default is not MISSING:
            values[option.name] = option.default
            continue
        values[option.name] = kind.stand_in
        if text:
            if traced and option.name in OF_TRACE:
                found.append(f"--{option.name} has no part in --schedule=trace: leave it out")
            try:
                values[option.name] = kind.convert(text)
            except (RecordsError, TraceError) as error:
                found += [f"--{option.name}: {problem}" for problem in error.problems]
            except ValueError:
                found.append(f"--{option.name}={text} must be {kind.expected}")
        elif traced and option.name in OF_TRACE:
            continue
        elif kind in (NUMBER, RECORDS):  # of the others, `problems` tells the stand-in from a value
            found.append(f"--{option.name} is missing: give {option.metadata['help']}")
    options = RunOptions(**values)  # type: ignore[arg-type]
    if traced and len(options.trace.offsets):
        options = replace(options, rate=options.trace.rate, duration=options.trace.duration)
    return options, found + options.problems()
