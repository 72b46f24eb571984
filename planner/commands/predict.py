"""`./launch.sh plan predict`: what a job would do with a workload, and what it would cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import orjson

from launch.settings.setting import setting
from loadtest.terminal import make_console, say
from planner.answer import answer
from planner.as_json import as_json
from planner.as_page import write_page
from planner.command_line import PlanSettings, help_of, read_line
from planner.prediction import predict
from planner.screen import print_answer

NAME = "plan predict"


@dataclass(frozen=True, kw_only=True)
class PredictSettings(PlanSettings):
    """Of `plan predict`."""

    out: Path | None = setting(Path, "Write the answer as a page, too: plan.html. It needs no network.")


HELP = partial(
    help_of,
    NAME,
    "Say what a job would do with a workload, and what it would cost, before it is launched.",
    PredictSettings,
)


def predict_command(arguments: Sequence[str]) -> int:
    """Predict, print and return 0."""
    line = read_line(NAME, PredictSettings, arguments)
    assert isinstance(line.plan, PredictSettings)  # as it was read by this class
    found = answer(predict(line.question(line.configuration("plan"))))
    if line.plan.out:
        write_page(line.plan.out, found)
    if line.plan.json:
        print(orjson.dumps(as_json(found), option=orjson.OPT_INDENT_2).decode())
    else:
        print_answer(make_console(), found, all_grounds=line.plan.grounds)
        if line.plan.out:
            say(make_console(), f"page: {line.plan.out}", whole=True)
    return 0
