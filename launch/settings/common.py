"""Settings that commands of both kinds have, those on jobs and those on endpoints.

Dataclasses collect their fields from the last base to the first, and --help lists settings in that order: the
first base of a class holds what is listed last.
"""

from __future__ import annotations

from dataclasses import dataclass

from launch.settings import parsers
from launch.settings.setting import setting, switch
from pipeline.options.values import region as parse_region


@dataclass(frozen=True, kw_only=True)
class Location:
    """Where a command works."""

    project: str = setting(parsers.project, "The Google Cloud project.", required=True)
    region: str = setting(parse_region, "Region of the job, such as us-central1.", required=True)


@dataclass(frozen=True, kw_only=True)
class Settings(Location):
    """What every command has."""

    dry_run: bool = switch("Print the commands, to paste, and run none.")


@dataclass(frozen=True, kw_only=True)
class Confirmation(Location):
    """What a command has that asks before it goes on."""

    yes: bool = switch("Do not ask.", flag_only=True)
