"""The command line of `./launch.sh plan …`: the launch commands' settings, and those of a plan."""

from __future__ import annotations

import math
import shutil
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from launch.settings.command_line import read_command_line
from launch.settings.setting import Setting, SettingsError, setting, settings_of, switch
from loadtest.profile.profile import read
from pipeline.options.values import integer, one_of
from planner.assembly import Profiled
from planner.configuration import ENDPOINT_SETTINGS, RUN_SETTINGS, Configuration, configured
from planner.law import by_hand
from planner.prediction import Question
from planner.profiles import BUNDLED, BUNDLED_ENDPOINT
from planner.unknowns import UNKNOWNS
from planner.workload import Workload, WorkloadError, parse_workload

RUNNING = "running"
LAUNCH = "launch"
# Of a law by hand: assumed, up and down.
_SPREAD = 0.2


def _workload(text: str) -> Workload:
    try:
        return parse_workload(text)
    except WorkloadError as error:
        raise ValueError("; ".join(error.problems)) from None


def _service_ms(text: str) -> tuple[float, float]:
    parts = text.split("+")
    try:
        values = [float(part) for part in parts]
    except ValueError:
        values = []
    if (
        len(values) != 2
        or not all(math.isfinite(value) and value >= 0 for value in values)
        or not sum(values)
    ):
        raise ValueError(f"{text!r} is not FIXED+EACH in milliseconds, as in 2+0.05")
    return values[0], values[1]


def _known(text: str) -> dict[str, float]:
    found = {}
    for part in text.split(","):
        name, _, value = part.partition("=")
        if name not in UNKNOWNS:
            raise ValueError(f"{name!r} is none of {', '.join(UNKNOWNS)}")
        try:
            found[name] = float(value)
        except ValueError:
            raise ValueError(f"{part!r} is not NAME=NUMBER") from None
    return found


@dataclass(frozen=True, kw_only=True)
class PlanSettings:
    """What a plan goes by, besides what is to be launched."""

    workload: Workload = setting(
        _workload,
        "What arrives, in quotes: 'constant 800', 'ramp 100 2000 30m', 'burst 100 1000 1h period=10m "
        "width=1m', 'trace FILE'. Without a duration, an hour.",
        required=True,
    )
    profile: Path | None = setting(
        Path,
        "profile.json of your job, by ./launch.sh loadtest profile. Default: the bundled job's, which the "
        "answer then says.",
    )
    service_ms: tuple[float, float] | None = setting(
        _service_ms,
        "Instead of the profile's: what a call of the model takes, FIXED+EACH in milliseconds, as you expect "
        "it: 2+0.05. It is marked as assumed.",
    )
    start: str = setting(
        one_of(RUNNING, LAUNCH),
        "running: the initial workers are there when the workload begins; launch: the job is launched then.",
        default=RUNNING,
    )
    known: dict[str, float] | None = setting(
        _known,
        "What you know of what is not published, NAME=VALUE,NAME=VALUE: core_factor=1 where the profile was "
        "made on such a machine. --grounds lists the names.",
    )
    request_bytes: int = setting(
        integer(1, 10_000_000), "Bytes of a request with its attributes.", default="400"
    )
    result_bytes: int = setting(
        integer(1, 10_000_000), "Bytes of a result with its attributes.", default="500"
    )
    committed: int = setting(integer(0, 3), "Years of committed use: 0, 1 or 3.", default="0")
    draws: int = setting(integer(1, 1_000), "Draws of what is not known.", default="25")
    seed: int = setting(integer(0, 2**31), "Of all that is random.", default="1")
    grounds: bool = switch("Show each figure that the answer rests on with its source.")
    json: bool = switch("Print JSON, with everything over time.")


@dataclass(frozen=True)
class Line:
    """A command line that has been read.

    Attributes:
        plan: What the plan goes by.
        given: Settings of what is to be launched, as text, by flag.
        job_flags: Flags of the job.
    """

    plan: PlanSettings
    given: dict[str, str]
    job_flags: dict[str, str]

    def configuration(self, name: str) -> Configuration:
        """Return what is to be launched.

        Raises:
            SettingsError: The launch would be refused.
        """
        return configured(name, self.given, self.job_flags)

    def question(self, configuration: Configuration) -> Question:
        """Return what is asked of a configuration.

        Raises:
            ProfileError: The profile cannot be read.
        """
        plan = self.plan
        law = by_hand(*plan.service_ms, "given: --service-ms", _SPREAD) if plan.service_ms else None
        path = plan.profile or (BUNDLED_ENDPOINT if configuration.endpoint else BUNDLED)
        return Question(
            plan.workload,
            configuration,
            Profiled(read(path), path, law),
            plan.draws,
            plan.seed,
            dict(plan.known or {}),
            plan.start == RUNNING,
            plan.request_bytes,
            plan.result_bytes,
            plan.committed,
        )


def read_line(command: str, cls: type[PlanSettings], argv: Sequence[str]) -> Line:
    """Return what a command line says.

    Args:
        command: Its name, for messages.
        cls: The settings that the command has besides those of a launch.
        argv: What follows the name.

    Raises:
        SettingsError: With every problem, one a line.
    """
    own = settings_of(cls)
    line = read_command_line(command, [*own, *RUN_SETTINGS, *ENDPOINT_SETTINGS], argv, takes_job_flags=True)
    problems, found = line.problems, {}
    for each in own:
        text = line.given.pop(each.label, "")
        try:
            if text:
                found[each.name] = each.parse(text)
            elif each.required:
                problems.append(f"{each.label}: missing. {each.help}")
        except ValueError as error:
            problems.append(f"{each.label}: {error}")
    if found.get("committed") == 2:
        problems.append("--committed: there are commitments of 1 and of 3 years: take one of them, or 0")
    if problems:
        raise SettingsError("\n".join(problems))
    return Line(cls(**found), line.given, line.job_flags)


def help_of(command: str, summary: str, cls: type[PlanSettings]) -> str:
    """Return the help of a command, as wide as the terminal."""
    width = min(shutil.get_terminal_size().columns, 120)

    def wrapped(text: str, indent: int = 0) -> str:
        return textwrap.fill(
            text, width, initial_indent=" " * indent, subsequent_indent=" " * indent,
            break_long_words=False, break_on_hyphens=False,
        )  # fmt: skip

    parts = [f"usage: ./launch.sh {command} [flags] [-- flags of the job]", "", wrapped(summary), ""]
    for title, declared in (
        ("", settings_of(cls)),
        ("As for run:", RUN_SETTINGS),
        ("As for endpoint deploy, with --mode=endpoint:", ENDPOINT_SETTINGS),
    ):
        parts += [title] if title else []
        for each in declared:
            parts += [f"  {each.label}", wrapped(each.help + _end(each), 6)]
    return "\n".join(parts)


def _end(each: Setting) -> str:
    end = " Required." if each.required else ""
    return f"{end} Default: {each.default}." if each.default is not None and not each.switch else end
