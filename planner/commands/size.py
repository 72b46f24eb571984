"""`./launch.sh plan size`: the cheapest configuration that meets objectives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import orjson
from rich.console import Console

from launch.settings.setting import setting
from loadtest.search.objectives import Objective, ObjectiveError, parse
from loadtest.terminal import make_console, say
from planner.answer import Answer
from planner.as_json import as_json
from planner.command_line import PlanSettings, help_of, read_line
from planner.screen import print_answer
from planner.size import PERCENTS, Sized, Tried, size

NAME = "plan size"
_SHOWN = 4


def _objectives(text: str) -> tuple[Objective, ...]:
    try:
        found = tuple(parse(part) for part in text.split(","))
    except ObjectiveError as error:
        raise ValueError(str(error)) from None
    if wrong := [str(each) for each in found if each.metric not in PERCENTS]:
        raise ValueError(
            f"{', '.join(wrong)}: a plan has {', '.join(PERCENTS)} of the latency, as in p99<500ms"
        )
    return found


@dataclass(frozen=True, kw_only=True)
class SizeSettings(PlanSettings):
    """Of `plan size`."""

    objective: tuple[Objective, ...] = setting(
        _objectives,
        "What must hold in every draw of what is not known, several with commas: p99<500ms,p50<100ms. That "
        "99 % is answered by the end always must.",
        required=True,
    )


HELP = partial(
    help_of,
    NAME,
    "Find the cheapest machine, range of workers and of replicas that meet objectives. Those that you give "
    "stay as they are.",
    SizeSettings,
)


def size_command(arguments: Sequence[str]) -> int:
    """Search, print, and return 0; 1 where nothing meets the objectives."""
    line = read_line(NAME, SizeSettings, arguments)
    assert isinstance(line.plan, SizeSettings)  # as it was read by this class
    found = size(line.configuration("plan"), line.question, line.plan.objective)
    wanted = ",".join(str(each) for each in line.plan.objective)
    if line.plan.json:
        print(orjson.dumps(_as_json(found, wanted), option=orjson.OPT_INDENT_2).decode())
    else:
        _print(make_console(), found, wanted, all_grounds=line.plan.grounds)
    return 0 if found.best else 1


def _print(console: Console, found: Sized, wanted: str, *, all_grounds: bool) -> None:
    if found.best and found.best.answer:
        say(
            console,
            f"The cheapest of {found.simulated} simulated that meets {wanted} in every draw:",
            style="bold",
        )
        print_answer(console, found.best.answer, all_grounds=all_grounds)
        if found.dearer:
            say(console, "others that meet it:")
            for each in found.dearer:
                _print_tried(console, each)
    else:
        say(console, f"None of {found.simulated} simulated meets {wanted} in every draw", style="bold")
    if found.cheaper:
        say(console, "next cheaper, and why not:" if found.best else "the nearest, and why not:")
        for each in found.cheaper[:_SHOWN]:
            _print_tried(console, each)
    elif found.best:
        say(console, "nothing cheaper was left to try among the machines that are compared")


def _print_tried(console: Console, tried: Tried) -> None:
    for line in tried.configuration.launch_lines:
        say(console, f"  {line}", whole=True)
    if tried.answer:
        say(console, f"    cost of {tried.answer.bill.hour}")
    if tried.why_not:
        say(console, f"    {tried.why_not}")


def _as_json(found: Sized, wanted: str) -> Mapping[str, Any]:
    def of(tried: Tried) -> Mapping[str, Any]:
        return {
            "launch": tried.configuration.launch_lines,
            "why_not": tried.why_not,
            "cost": tried.answer.bill.hour.as_json() if tried.answer else None,
            "worst_ms": _worst(tried.answer) if tried.answer else None,
        }

    best = found.best.answer if found.best else None
    return {
        "objective": wanted,
        "simulated": found.simulated,
        "best": as_json(best) if best else None,
        "dearer": [of(each) for each in found.dearer],
        "cheaper": [of(each) for each in found.cheaper],
    }


def _worst(answer: Answer) -> Mapping[str, float]:
    return {name: round(answer.worst_ms[percent], 3) for name, percent in PERCENTS.items()}
