"""What an analysis is told beside the raw log, and the file that keeps it beside that."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import orjson

from loadtest.run_folder import SETTINGS, replace_file

_KEPT = ("deadline_s", "tightest_objective_s", "warm_up_floor_s")


class SettingsError(Exception):
    """A folder's settings cannot be read; the message says which file and why."""


@dataclass(frozen=True)
class Event:
    """Something that happened to the system, such as a change of its number of workers.

    Attributes:
        at: Epoch seconds.
        text: For people.
    """

    at: float
    text: str


@dataclass(frozen=True)
class Settings:
    """What an analysis is told.

    Attributes:
        deadline_s: An answer that takes longer is late, and a missing one counts as at least as long. None: a
            missing answer counts as the time that it was waited for, and none is late.
        tightest_objective_s: The shortest latency that is asked for; it bounds the schedule error.
        warm_up_floor_s: Seconds that are cut at least, up to half of the run: 10 on one machine, 60 in the
            cloud (measured on synthetic queues).
        events: In the order of their times; changes of the series `workers` and `replicas` are added.
    """

    deadline_s: float | None = None
    tightest_objective_s: float | None = None
    warm_up_floor_s: float = 10.0
    events: tuple[Event, ...] = ()


def keep(settings: Settings, folder: Path) -> None:
    """Write them beside a run's raw log, so that it is judged the same whenever it is looked at again."""
    content = {name: getattr(settings, name) for name in _KEPT}
    options = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
    replace_file(folder / SETTINGS, orjson.dumps(content, option=options))


def kept(folder: Path) -> Settings:
    """Return those that are kept beside a run's raw log; the defaults where none are.

    Raises:
        SettingsError: The file is none of ours.
    """
    path = folder / SETTINGS
    if not path.is_file():
        return Settings()
    try:
        content = orjson.loads(path.read_bytes())
        numbers = {name: content[name] for name in _KEPT}
        if not all(value is None or isinstance(value, int | float) for value in numbers.values()):
            raise ValueError("a setting is not a number")
        return Settings(**numbers)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise SettingsError(f"{path} holds no settings of a run ({error}): remove it") from error
