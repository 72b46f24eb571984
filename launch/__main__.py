"""`python -m launch COMMAND`: what launch.sh runs for its commands in the cloud."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from launch.cloud.shell import CommandError, Shell
from launch.commands import build, smoke
from launch.commands import endpoint as endpoint_commands
from launch.commands import job as commands
from launch.settings.setting import Settings, SettingsError
from launch.settings.table import COMMANDS, help_text, parse

ENV_FILE = Path(__file__).parents[1] / "launch.env"


def main(argv: Sequence[str], environ: Mapping[str, str], env_file: Path = ENV_FILE) -> int:
    """Returns 0, 1 where the cloud or a command refused something, 2 for wrong settings."""
    name, rest = _split(argv)
    if name is None:
        names = ", ".join(command.name for command in COMMANDS)
        given = " ".join(argv[:2]) or "nothing"
        print(f"launch.sh: {given}: not one of {names}", file=sys.stderr)
        return 2
    if {"--help", "-h"} & set(rest[: rest.index("--")] if "--" in rest else rest):
        print(help_text(name))
        return 0
    try:
        settings = parse(name, rest, environ, env_file)
        RUN[name](settings, Shell(dry_run=settings.dry_run))
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    except CommandError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _split(argv: Sequence[str]) -> tuple[str | None, list[str]]:
    """The command, which is one word or two, and the rest."""
    names = {command.name for command in COMMANDS}
    for length in (2, 1):
        name = " ".join(argv[:length])
        if name in names:
            return name, list(argv[length:])
    return None, []


RUN: Mapping[str, Callable[[Settings, Shell], None]] = {
    "build": build.run,
    "smoke": smoke.run,
    **dict.fromkeys(commands.RUN, commands.run),
    **dict.fromkeys(endpoint_commands.RUN, endpoint_commands.run),
}


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:], os.environ))
    except KeyboardInterrupt:
        sys.exit(130)
