"""Flags of a search, of all commands that make one."""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from loadtest.search.answer import Settings
from loadtest.search.objectives import ObjectiveError, Tier

DEFAULT_TIER = "p99<250ms,lost=0"
# A quarter of it, as the first probes are, still tells the slope of a backlog.
LEAST_PROBE_S = 12.0
# More messages than the percentiles need, as a Poisson schedule may bring fewer than rate times seconds.
_SPARE = 1.1

_NUMBERS: Mapping[str, tuple[float, str]] = {
    "start": (100.0, "first rate, messages a second"),
    "probe_s": (60.0, "seconds of a probe at least"),
    "probe_max_s": (600.0, "seconds of a probe at most"),
    "budget": (7200.0, "seconds of all probes of a search together"),
}


@dataclass(frozen=True)
class SearchFlags:
    """What is searched for, and how.

    Attributes:
        tiers: One answer each.
        settings: Of the search.
    """

    tiers: tuple[Tier, ...]
    settings: Settings


def add_search_flags(parser: argparse.ArgumentParser, *, tiers: Literal["one", "several"]) -> None:
    """Add the flags; all values are text.

    Args:
        parser: From `new_parser`.
        tiers: Whether --tier may be given more than once.
    """
    parser.add_argument(
        "--objective", action="append", metavar="OBJECTIVE",
        help="such as p99<250ms or lost=0; repeat it: all must be met",
    )  # fmt: skip
    repeated = "; repeat it: one boundary each" if tiers == "several" else ""
    parser.add_argument(
        "--tier", action="append", metavar="OBJECTIVES",
        help=f"objectives such as p99<100ms,lost=0{repeated} (default: {DEFAULT_TIER})",
    )  # fmt: skip
    for name, (default, told) in _NUMBERS.items():
        parser.add_argument(f"--{name}", help=f"{told} (default: {default:g})")
    parser.add_argument("--resume", action="store_true", help="go on from what is in --out")


def search_flags(given: argparse.Namespace, seed: int, problems: list[str]) -> SearchFlags | None:
    """Return what the flags say; None where something is wrong with them, which is added to `problems`.

    Args:
        given: Every flag as it was written.
        seed: Of the first probe's arrivals.
        problems: Of the command line.
    """
    found: list[str] = []
    numbers = {name: number(given, name, default, found) for name, (default, _) in _NUMBERS.items()}
    if numbers["probe_s"] < LEAST_PROBE_S:
        found.append(
            f"--probe_s={given.probe_s} must be at least {LEAST_PROBE_S:g}: the first probes take a quarter"
        )
    tiers = _tiers([*(given.tier or []), *([",".join(given.objective)] if given.objective else [])], found)
    if given.resume and given.out is None:
        found.append("--resume: give the folder that is to go on by --out")
    problems += found
    if found:
        return None
    least = math.ceil(_SPARE * max(tier.least_messages for tier in tiers))
    settings = Settings(
        numbers["start"], numbers["probe_s"], numbers["probe_max_s"], numbers["budget"], seed, least
    )
    return SearchFlags(tuple(tiers), settings)


def number(
    given: argparse.Namespace, name: str, default: float, problems: list[str], *, or_zero: bool = False
) -> float:
    """Return a flag's number; NaN where it is none above 0 (or 0, with `or_zero`), and a problem more."""
    text = getattr(given, name)
    try:
        value = default if text is None else float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf or (not value and not or_zero):
        problems.append(f"--{name}={text} must be a number above 0")
    return value


def _tiers(texts: Sequence[str], problems: list[str]) -> list[Tier]:
    tiers = []
    for text in texts or [DEFAULT_TIER]:
        try:
            tiers.append(Tier.parse(text))
        except ObjectiveError as error:
            problems.append(f"--tier or --objective: {error}")
    return tiers
