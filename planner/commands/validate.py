"""`./launch.sh plan validate`: runs that were measured beside what is predicted of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
from rich.console import Console
from rich.table import Table

from launch.settings.setting import SettingsError
from loadtest.figures import figure
from loadtest.terminal import make_console, say
from planner.answer import answer
from planner.command_line import PlanSettings, read_line
from planner.config_file import JOB, arguments
from planner.prediction import predict
from planner.runs import FIGURES, Compared, Run, Score, compared, read_runs, scores

NAME = "plan validate"
_JSON = "--json"


def help_text() -> str:
    """Return the help of the command."""
    return "\n".join(
        [
            f"usage: ./launch.sh {NAME} RUNS.json [{_JSON}]",
            "",
            "Show measured runs beside their predictions: the mean error, the worst run, and what cannot be",
            "explained. RUNS.json is a list, docs/planning.md says of what:",
            '  [{"configuration": {"max_workers": 3}, "offered": 500, "p50_ms": 60, "workers": 1}]',
        ]
    )


def validate_command(words: Sequence[str]) -> int:
    """Predict each run, print and return 0."""
    files = [word for word in words if not word.startswith("-")]
    if strangers := [word for word in words if word.startswith("-") and word != _JSON]:
        raise SettingsError(
            f"{strangers[0]}: {NAME} has no such flag; flags of a run stand in its configuration"
        )
    if len(files) != 1:
        raise SettingsError(f"{NAME}: name one file, as in ./launch.sh {NAME} RUNS.json")
    runs = read_runs(Path(files[0]))
    found, problems = [], []
    for number, run in enumerate(runs.runs, start=1):
        try:
            found.append(_predicted(runs.configuration, run))
        except SettingsError as error:
            problems += [f"run {number}: {problem}" for problem in str(error).splitlines()]
    if problems:
        raise SettingsError("\n".join(problems))
    if _JSON in words:
        print(orjson.dumps(_as_json(runs.source, found), option=orjson.OPT_INDENT_2).decode())
    else:
        _print(make_console(), runs.source, found)
    return 0


def _predicted(common: Mapping[str, Any], run: Run) -> Compared:
    flags = dict(common) | dict(run.configuration)
    flags[JOB] = dict(common.get(JOB) or {}) | dict(run.configuration.get(JOB) or {})
    flags.setdefault("workload", f"constant {run.offered:g} {run.seconds:g}s")
    line = read_line(NAME, PlanSettings, arguments(flags, "configuration"))
    name = run.name or f"offered {run.offered:g}"
    return compared(run, answer(predict(line.question(line.configuration(name)))))


def _print(console: Console, source: str, found: Sequence[Compared]) -> None:
    if source:
        say(console, f"runs: {source}")
    table = Table(title="measured → predicted, by the defaults", title_justify="left")
    table.add_column("run", overflow="fold")
    names = [name for name in FIGURES if any(name in each.run.measured for each in found)]
    for name in names:
        table.add_column(_label(name), justify="right", overflow="fold")
    for each in found:
        cells = [_cell(each, name) for name in names]
        table.add_row(each.run.name or f"offered {each.run.offered:g}", *cells)
    console.print(table)
    for score in scores(found):
        say(console, _told(score))
    if "cost" in names:
        say(console, f"predicted costs are at {found[0].answer.bill.hour.dates}")
    unexplained = [each for each in found if each.unexplained]
    if unexplained:
        say(
            console,
            f"not explained, {len(unexplained)} of {len(found)} runs, which count above, too:",
        )
        for each in unexplained:
            say(console, f"  {each.run.name or f'offered {each.run.offered:g}'}: {each.unexplained}")


def _label(name: str) -> str:
    return f"{name.removesuffix('_ms')}, {FIGURES[name]}" if FIGURES[name] else name


def _cell(each: Compared, name: str) -> str:
    if name not in each.run.measured:
        return "-"
    predicted = each.predicted.get(name)
    return f"{figure(each.run.measured[name])} → {figure(predicted)}"


def _told(score: Score) -> str:
    return (
        f"{score.name.removesuffix('_ms')}: MAPE {score.mape:.0%}, signed {score.signed:+.0%} over {score.n} "
        f"runs; furthest off {score.worst}, {score.worst_error:+.0%}"
    )


def _as_json(source: str, found: Sequence[Compared]) -> Mapping[str, Any]:
    return {
        "source": source,
        "runs": [
            {
                "name": each.run.name,
                "offered": each.run.offered,
                "measured": each.run.measured,
                "predicted": {name: round(value, 6) for name, value in each.predicted.items()},
                "errors": {name: round(value, 6) for name, value in each.errors.items()},
                "cost_dates": each.answer.bill.hour.dates,
                "unexplained": each.unexplained,
            }
            for each in found
        ],
        "scores": [
            {
                "name": score.name,
                "n": score.n,
                "mape": round(score.mape, 6),
                "signed": round(score.signed, 6),
                "worst": score.worst,
                "worst_error": round(score.worst_error, 6),
            }
            for score in scores(found)
        ],
    }
