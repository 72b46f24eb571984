"""A plan on the terminal: the verdict, the figures, what they rest on, what it costs, how to launch it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from rich.console import Console
from rich.table import Table
from rich.text import Text

from loadtest.figures import figure
from loadtest.terminal import printable, say
from planner.answer import NOT_IN_IT, Answer, Row, where_from
from planner.basis import Ground
from planner.configuration import Configuration

_ORDER = ("measured", "published", "estimated", "assumed")


def print_answer(console: Console, answer: Answer, *, all_grounds: bool = False) -> None:
    """Print a prediction.

    Args:
        console: Printed to; nothing is cropped at 60 columns and more.
        answer: The prediction.
        all_grounds: Whether each figure that it rests on is shown with its source, and not the assumed alone.
    """
    prediction = answer.prediction
    say(console, answer.headline, style="bold")
    for sentence in answer.sentences:
        say(console, f"  {sentence}")
    for line in prediction.mistakes:
        say(console, f"  wrong: {line}", style="bold red")
    console.print(figures_table(answer.rows))
    print_bill(console, answer)
    say(console, where_from(prediction))
    print_grounds(console, prediction.grounds, all_grounds=all_grounds)
    say(console, NOT_IN_IT)
    print_lines(console, prediction.question.configuration)


def figures_table(rows: Sequence[Row]) -> Table:
    """Return the figures: by the defaults, between P10 and P90 of the draws, and in the worst one."""
    table = Table(title="Predicted; in every draw of what is not known", title_justify="left")
    table.add_column("", overflow="fold")
    for name in ("defaults", "P10–P90", "worst"):
        table.add_column(name, justify="right", overflow="fold")
    for row in rows:
        name = f"{row.name}, {row.unit}" if row.unit else row.name
        spread = figure(row.low) if row.low == row.high else f"{figure(row.low)}–{figure(row.high)}"
        table.add_row(name, figure(row.central), spread, figure(row.worst))
    return table


def print_bill(console: Console, answer: Answer) -> None:
    """Print what it costs, with the dates of the prices."""
    for amount in (answer.bill.hour, answer.bill.million, answer.bill.month):
        say(console, f"cost of {amount}")
    for note in sorted({item.note for item in answer.bill.hour.items if item.note}):
        say(console, f"  {note}")


def print_grounds(console: Console, grounds: Sequence[Ground], *, all_grounds: bool) -> None:
    """Print what it rests on, kind by kind."""
    ordered = sorted(grounds, key=lambda each: _ORDER.index(each.basis))
    for basis, of_basis in groupby(ordered, key=lambda each: each.basis):
        found = list(of_basis)
        if all_grounds:
            table = Table(title=basis, title_justify="left")
            for name in ("what", "value", "source"):
                table.add_column(name, overflow="fold")
            for each in found:
                table.add_row(*(Text(printable(text)) for text in (each.what, each.value, each.source)))
            console.print(table)
        else:
            say(console, f"{basis}: " + "; ".join(f"{each.what} {each.value}" for each in found))


def print_lines(console: Console, configuration: Configuration) -> None:
    """Print the commands that launch it."""
    say(console, "to launch it (project, bucket and image are launch.env's):")
    for line in configuration.launch_lines:
        say(console, f"  {line}", whole=True)
    if configuration.update_line:
        say(console, "for a job that runs:")
        say(console, f"  {configuration.update_line}", whole=True)
