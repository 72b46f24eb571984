"""Flags of a sweep: which flags of the job take which values, and every combination of them."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lab.command_line import CommandLine, new_parser, parse_command_line
from lab.probing import SCHEDULE
from lab.search_flags import add_search_flags, search_flags
from loadtest.search.sweep_file import SWEEP, Sweep, SweepFileError
from pipeline.options.job_options import FLAGS

_MOST_FLAGS = 2  # as a page can compare
_DEFAULTS = {"rate": "1", "duration": "1", "schedule": SCHEDULE}  # of no meaning here: each probe sets them


@dataclass(frozen=True)
class Combination:
    """One value of each flag that is swept.

    Attributes:
        flags: With their values.
        line: The command line with them among the job's flags; that of the sweep for a job elsewhere.
    """

    flags: Mapping[str, str]
    line: CommandLine

    @property
    def arguments(self) -> list[str]:
        """The flags as the job takes them."""
        return _as_arguments(self.flags)


def parse_sweep(arguments: Sequence[str]) -> tuple[CommandLine, Sweep | None, list[Combination]]:
    """Return the command line, the sweep (None where something is wrong), and its combinations."""
    parser = new_parser(
        "sweep",
        "Search the highest rate with each of several values of one or two flags of the job, and compare.",
    )
    parser.add_argument(
        "--sweep", action="append", metavar="FLAG=VALUES",
        help="a flag of the job and its values, such as max_batch_size=1,8,32; repeat it: all combinations",
    )  # fmt: skip
    add_search_flags(parser, tiers="one")
    line = parse_command_line(parser, arguments, _DEFAULTS)
    given, problems = line.given, line.problems
    values = _values(given.sweep or [], problems)
    flags = search_flags(given, line.options.seed, problems)
    if flags is not None and len(flags.tiers) > 1:
        problems.append("--tier: a sweep compares for one: give one, or --objective alone")
    if given.resume and line.flags is None:
        problems.append("--resume: of a job that runs elsewhere nothing is measured here: leave it out")
    if not given.sweep and not given.resume:
        problems.append("--sweep is missing: give a flag of the job and its values, as max_batch_size=1,8,32")
    if problems or flags is None:
        return line, None, []
    job = "" if line.flags is None else line.flags.text
    sweep = Sweep(values, job, flags.tiers[0], flags.settings)
    if given.resume:
        begun = _begun(line, sweep, asked=bool(given.sweep))
        if begun is None:
            return line, None, []
        sweep = begun
    combinations = []
    for chosen in itertools.product(*sweep.values.values()):
        own = dict(zip(sweep.values, chosen, strict=True))
        if line.flags is None:
            problems += _refused(own)
            combinations.append(Combination(own, line))
            continue
        end = [] if "--" in arguments else ["--"]
        of_one = parse_command_line(parser, [*arguments, *end, *_as_arguments(own)], _DEFAULTS)
        problems += [f"--sweep, with {' '.join(_as_arguments(own))}: {each}" for each in of_one.problems]
        combinations.append(Combination(own, of_one))
    return line, None if problems else sweep, combinations


def _as_arguments(flags: Mapping[str, str]) -> list[str]:
    return [f"--{name}={value}" for name, value in flags.items()]


def _values(texts: Sequence[str], problems: list[str]) -> dict[str, tuple[str, ...]]:
    """Return the values of each flag; what is wrong with them is added to `problems`."""
    found: dict[str, tuple[str, ...]] = {}
    for text in texts:
        name, _, listed = text.removeprefix("--").partition("=")
        name, values = name.strip().replace("-", "_"), tuple(each.strip() for each in listed.split(","))
        if not name or not all(values):
            problems.append(f"--sweep={text}: give a flag of the job and its values, as max_batch_size=1,8")
        elif name in found:
            problems.append(f"--sweep={text}: {name} is given twice: give all of its values at once")
        elif len(set(values)) < len(values):
            problems.append(f"--sweep={text}: a value stands there twice: leave one out")
        found[name] = values
    if len(found) > _MOST_FLAGS:
        problems.append(f"--sweep: {len(found)} flags are too many to compare: give {_MOST_FLAGS} at most")
    return found


def _begun(line: CommandLine, asked_for: Sweep, *, asked: bool) -> Sweep | None:
    """Return the sweep in the folder; None, and a problem more, where it is not the one that is asked for."""
    path = line.options.out / SWEEP
    try:
        begun = Sweep.read(path)
    except SweepFileError as error:
        line.problems.append(f"--resume: {error}")
        return None
    if asked and begun.values != asked_for.values:
        line.problems.append(f"--resume: {path} is of other values: leave out --sweep, or begin a new one")
    if begun.job != asked_for.job:
        line.problems.append(
            f"--resume: {path} was begun with {begun.job or 'no flags'} after --: give the same"
        )
    return None if line.problems else begun


def _refused(flags: Mapping[str, str]) -> list[str]:
    """Return what the job would say of each of its flags alone: its others are not known here."""
    known = {flag.name: flag for flag in FLAGS}
    found = []
    for name, value in flags.items():
        if name not in known:
            found.append(f"--sweep: {name} is no flag of the job: see ./launch.sh local -- --help")
            continue
        try:
            known[name].parse(value)
        except ValueError as error:
            found.append(f"--sweep: --{name}: {error}")
    return found
