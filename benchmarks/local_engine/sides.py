"""The three jobs of `benchmarks.local_engine`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.harness.jobs import our_job, stock_job, with_stocks_handler
from local.run import EXAMPLE
from local.topics import Topics


@dataclass(frozen=True)
class Side:
    """A job, and what it has to carry.

    Attributes:
        ladder: Rates in msg/s, lowest first.
        command: Takes the topics that the job connects and a folder for its files, and returns its command.
    """

    title: str
    ladder: tuple[float, ...]
    command: Callable[[Topics, Path], list[str]]


def _hybrid(topics: Topics, folder: Path) -> list[str]:
    return with_stocks_handler("benchmarks.local_engine.hybrid_job", topics, folder)


def _ours(topics: Topics, folder: Path) -> list[str]:
    return our_job(topics, f"--model_path={EXAMPLE / 'model.pt2'}")


# Steps of about 40 s. Stock fails after a few of the fine ones, which the others skip, so that all three rows
# end within about 15 minutes on two cores.
SIDES = {
    "a": Side("stock Beam", (50.0, 100.0, 150.0, 200.0, 250.0, 300.0, 500.0, 1000.0), stock_job),
    "b": Side(
        "our source and sink, stock handler",
        (100.0, 1000.0, 2000.0, 3000.0, 4000.0, 5000.0, 6000.0),
        _hybrid,
    ),
    "c": Side("ours", (100.0, 1000.0, 2000.0, 3000.0, 4000.0, 5000.0, 6000.0, 7000.0), _ours),
}
