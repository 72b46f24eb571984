"""`./launch.sh plan predict`: what a job would do with a workload, and what it would cost."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import orjson

from loadtest.terminal import make_console
from planner.answer import answer
from planner.as_json import as_json
from planner.command_line import PlanSettings, help_of, read_line
from planner.prediction import predict
from planner.screen import print_answer

NAME = "plan predict"
HELP = partial(
    help_of,
    NAME,
    "Say what a job would do with a workload, and what it would cost, before it is launched.",
    PlanSettings,
)


def predict_command(arguments: Sequence[str]) -> int:
    """Predict, print and return 0."""
    line = read_line(NAME, PlanSettings, arguments)
    found = answer(predict(line.question(line.configuration("plan"))))
    if line.plan.json:
        print(orjson.dumps(as_json(found), option=orjson.OPT_INDENT_2).decode())
    else:
        print_answer(make_console(), found, all_grounds=line.plan.grounds)
    return 0
