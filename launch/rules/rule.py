"""What one rule on settings is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from launch.settings.setting import Settings

# The commands that launch a job.
LAUNCHES = ("run", "replace", "smoke")


@dataclass(frozen=True)
class Rule:
    """One rule: the commands it is for, and what it says of their settings; None where nothing is wrong."""

    name: str
    commands: tuple[str, ...]
    problem: Callable[[Settings], str | None]
