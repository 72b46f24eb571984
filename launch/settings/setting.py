"""What one setting is, what a command is, and what all settings of a command are.

Apart from the table in settings.py, as other modules bring rows of their own to it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Setting:
    """One row of the table: `--min-workers` on the command line, LAUNCH_MIN_WORKERS elsewhere."""

    name: str  # as the flag is written, without the dashes
    parse: Callable[[str], Any]  # raises ValueError, whose text says what is wrong with the value
    help: str
    default: str | None
    commands: tuple[str, ...]
    required: bool = False
    # `--dry-run` alone means true; its value, if any, is written --dry-run=false.
    switch: bool = False
    # Commands that take it from the command line only.
    from_flag_only: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """Its attribute of `Settings`."""
        return self.name.replace("-", "_")

    @property
    def variable(self) -> str:
        """Its name in the environment and in launch.env."""
        return f"LAUNCH_{self.key.upper()}"


@dataclass(frozen=True)
class Command:
    """One command of launch.sh: its name, its help, and the one word it takes besides flags, if any."""

    name: str
    help: str
    word: Setting | None = None
    takes_job_flags: bool = False


@dataclass(frozen=True)
class Settings:
    """A command's settings as attributes: `settings.min_workers`; None is one that was not given.

    `job_flags` are the flags of the job itself: what follows `--`, by name without dashes.
    """

    command: str
    values: Mapping[str, Any]
    job_flags: Mapping[str, str] = field(default_factory=dict)

    def __getattr__(self, name: str) -> Any:
        values = self.__dict__.get("values", {})
        if name not in values:
            raise AttributeError(f"the command {self.command!r} has no setting {name!r}")
        return values[name]


class SettingsError(Exception):
    """What is wrong with the settings: one problem a line, each with its mend."""
