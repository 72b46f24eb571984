"""`./launch.sh plan compare`: two or more configurations side by side, under the same workload."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import orjson
from rich.console import Console
from rich.table import Table

from launch.settings.setting import SettingsError
from loadtest.figures import figure
from loadtest.terminal import make_console, say
from planner.answer import NOT_IN_IT, Answer, Row, answer, where_from
from planner.as_json import as_json
from planner.command_line import PlanSettings, help_of, read_line
from planner.config_file import arguments_of
from planner.prediction import predict

NAME = "plan compare"
HELP = partial(
    help_of,
    f"{NAME} A.yaml B.yaml",
    "Predict several configurations side by side. A file has a line for each flag, 'max_workers: 4', those "
    "of the job indented below 'job:'. Flags after the files hold for each file that does not have them.",
    PlanSettings,
)


def compare_command(arguments: Sequence[str]) -> int:
    """Predict each file's configuration, print and return 0."""
    files = [Path(text) for text in _files(arguments)]
    shared = list(arguments[len(files) :])
    if len(files) < 2:
        raise SettingsError(f"{NAME}: name two files at least, as in ./launch.sh {NAME} A.yaml B.yaml")
    found, problems, as_text = [], [], False
    for path in files:
        own = arguments_of(path)
        try:
            line = read_line(NAME, PlanSettings, _with_shared(own, shared))
            found.append(answer(predict(line.question(line.configuration(path.stem)))))
            as_text = not line.plan.json
        except SettingsError as error:
            problems += [f"{path}: {problem}" for problem in str(error).splitlines()]
    if problems:
        raise SettingsError("\n".join(problems))
    if as_text:
        _print(make_console(), found)
    else:
        print(orjson.dumps([as_json(each) for each in found], option=orjson.OPT_INDENT_2).decode())
    return 0


def _files(arguments: Sequence[str]) -> list[str]:
    found = []
    for text in arguments:
        if text.startswith("-"):
            break
        found.append(text)
    return found


def _with_shared(own: list[str], shared: list[str]) -> list[str]:
    """Return a file's flags, and those of the command line that it has not."""
    names = {word.partition("=")[0] for word in own}
    cut = own.index("--") if "--" in own else len(own)
    more: list[str] = []
    words = list(shared)
    while words:
        word = words.pop(0)
        if word == "--":
            raise SettingsError(f"{NAME}: flags of the job stand in the files, below 'job:'")
        # A value may stand apart from its flag.
        value = [words.pop(0)] if "=" not in word and words and not words[0].startswith("--") else []
        if word.partition("=")[0] not in names:
            more += [word, *value]
    return [*own[:cut], *more, *own[cut:]]


def _print(console: Console, found: Sequence[Answer]) -> None:
    for each in found:
        configuration = each.prediction.question.configuration
        say(console, f"{configuration.name}: {each.headline}", style="bold")
        for mistake in each.prediction.mistakes:
            say(console, f"  wrong: {mistake}", style="bold red")
        say(console, f"  cost of {each.bill.hour}")
        say(console, f"  cost of {each.bill.million}")
        say(console, f"  {where_from(each.prediction)}")
        for line in configuration.launch_lines:
            say(console, f"  {line}", whole=True)
    console.print(_table(found))
    cheapest = min(range(len(found)), key=lambda number: _Cost(found[number]))
    for number, each in enumerate(found):
        if number != cheapest:
            times = each.bill.hour.compare(found[cheapest].bill.hour)
            names = [one.prediction.question.configuration.name for one in (each, found[cheapest])]
            say(console, f"an hour of {names[0]} costs {times:.2f} times what one of {names[1]} does")
    say(console, NOT_IN_IT)


class _Cost:
    """Orders answers by what an hour costs."""

    def __init__(self, found: Answer) -> None:
        self._hour = found.bill.hour

    def __lt__(self, other: _Cost) -> bool:
        return self._hour < other._hour


def _table(found: Sequence[Answer]) -> Table:
    table = Table(title="By the defaults; in brackets the worst draw", title_justify="left")
    table.add_column("", overflow="fold")
    for each in found:
        table.add_column(each.prediction.question.configuration.name, justify="right", overflow="fold")
    names = list(dict.fromkeys((row.name, row.unit) for each in found for row in each.rows))
    for name, unit in names:
        cells = []
        for each in found:
            rows = [row for row in each.rows if row.name == name]
            cells.append(_cell(rows[0]) if rows else "-")
        table.add_row(f"{name}, {unit}" if unit else name, *cells)
    return table


def _cell(row: Row) -> str:
    return f"{figure(row.central)} ({figure(row.worst)})"
