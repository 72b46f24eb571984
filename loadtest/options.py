"""Every flag of `python -m loadtest run`, its help and its rules."""

import argparse
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path

from loadtest.records import RecordsError, read_records
from loadtest.schedule import SHAPES

MAX_MESSAGES = 50_000_000  # about 4 GB of per-message figures


def _help(text: str) -> dict[str, str]:
    return {"help": text}


@dataclass(frozen=True)
class RunOptions:
    """What one run of the load driver needs. Nothing is checked on construction: ask `problems()`."""

    project: str = field(metadata=_help("Google Cloud project id (any, with an emulator)"))
    input_topic: str = field(metadata=_help("topic the job reads, short id or projects/P/topics/T"))
    output_subscription: str = field(
        metadata=_help("subscription of the results, short id or projects/P/subscriptions/S")
    )
    rate: float = field(metadata=_help("messages a second"))
    duration: float = field(metadata=_help("seconds to send for, after the warm-up"))
    input: Path = field(metadata=_help("JSON Lines file of request bodies, sent in order and cycled"))
    out: Path = field(metadata=_help("folder for summary.json, results.jsonl and dead_letters.jsonl"))
    dead_letter_subscription: str = field(
        default="", metadata=_help("subscription of the dead letters (default: none is read)")
    )
    schedule: str = field(default="constant", metadata=_help("constant or poisson (default: constant)"))
    seed: int = field(default=1, metadata=_help("of the poisson schedule (default: 1)"))
    warmup: float = field(
        default=0.0,
        metadata=_help("seconds sent beforehand and left out of latencies and rates (default: 0)"),
    )
    drain_timeout: float = field(
        default=60.0, metadata=_help("seconds to wait for stragglers after the last send (default: 60)")
    )
    ready_timeout: float = field(
        default=120.0, metadata=_help("seconds to wait for the answer to a first probe (default: 120)")
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

    def problems(self) -> list[str]:
        """Returns one line for each thing that is wrong, naming the flag and the mend."""
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
        for name, least, above in (
            ("rate", 0, True), ("duration", 0, True), ("warmup", 0, False),
            ("drain_timeout", 0, False), ("ready_timeout", 0, True),
        ):  # fmt: skip
            value = getattr(self, name)
            if not math.isfinite(value) or value < least or (above and value == least):
                found.append(
                    f"--{name}={value:g} must be a number {'above' if above else 'of at least'} {least}"
                )
        messages = self.rate * (self.warmup + self.duration)
        if math.isfinite(messages) and messages > MAX_MESSAGES:
            found.append(f"--rate times --duration is above {MAX_MESSAGES:,} messages: lower one of them")
        if self.schedule not in SHAPES:
            found.append(f"--schedule={self.schedule} is unknown: choose {' or '.join(SHAPES)}")
        if self.seed < 0:
            found.append(f"--seed={self.seed} must be an integer of at least 0")
        found += self._file_problems()
        return found

    def _file_problems(self) -> list[str]:
        found = []
        if not self.input.name:
            found.append("--input is missing: give a JSON Lines file of requests")
        else:
            try:
                read_records(self.input)
            except RecordsError as error:
                found += [f"--input: {problem}" for problem in error.problems]
        if not self.out.name:
            found.append("--out is missing: give a folder for the results")
        elif any(place.exists() and not place.is_dir() for place in (self.out, *self.out.parents)):
            found.append(f"--out={self.out} is, or lies under, a file: give a folder")
        return found


def resource_path(project: str, collection: str, name: str) -> str:
    """Returns the full Pub/Sub name for a short id; a full name is returned as it is."""
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


_CONVERSIONS: dict[type, tuple[Callable[[str], object], str]] = {
    float: (float, "a number"),
    int: (int, "an integer"),
    str: (str, "text"),
    Path: (Path, "a path"),
}
# In place of a value that is missing or unreadable, and reported as such, so that the other checks still run.
_STAND_INS: dict[type, object] = {float: 1.0, int: 1, str: "", Path: Path()}


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the flags; it takes all values as text, so that all mistakes are found."""
    parser = argparse.ArgumentParser(
        prog="python -m loadtest run",
        description="Send requests on a schedule, collect the answers, and say how late they were.",
        allow_abbrev=False,
    )
    for option in fields(RunOptions):
        parser.add_argument(f"--{option.name}", metavar=option.name.upper(), help=option.metadata["help"])
    return parser


def parse(arguments: Sequence[str]) -> tuple[RunOptions, list[str]]:
    """Returns the options and every problem with them; they are usable when there is none."""
    named, unknown = make_parser().parse_known_args(arguments)
    found = [f"{flag} is not a flag of this command: see --help" for flag in unknown]
    values: dict[str, object] = {}
    for option in fields(RunOptions):
        kind = option.type
        assert isinstance(kind, type)
        text = getattr(named, option.name)
        if text is None:
            values[option.name] = _STAND_INS[kind] if option.default is MISSING else option.default
            if option.default is MISSING and kind is float:
                found.append(f"--{option.name} is missing: give {option.metadata['help']}")
            continue
        convert, expected = _CONVERSIONS[kind]
        try:
            values[option.name] = convert(text)
        except ValueError:
            found.append(f"--{option.name}={text} must be {expected}")
            values[option.name] = _STAND_INS[kind]
    options = RunOptions(**values)  # type: ignore[arg-type]
    return options, found + options.problems()
