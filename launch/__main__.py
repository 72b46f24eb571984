"""`python -m launch COMMAND`: what launch.sh runs for its commands in the cloud."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from launch.cloud.shell import CommandError, Shell
from launch.commands.command import Command
from launch.commands.table import COMMANDS, parse
from launch.settings.setting import SettingsError
from pipeline.process.output import until_output_closes

ENV_FILE = Path(__file__).parents[1] / "launch.env"


def main(argv: Sequence[str], environ: Mapping[str, str], env_file: Path = ENV_FILE) -> int:
    """Return 0, 1 if the cloud or a command refused something, or 2 if settings are wrong."""
    command, rest = _split(argv)
    if command is None:
        if group := _group(argv):
            print(group)
            return 0
        names = ", ".join(command.name for command in COMMANDS)
        given = " ".join(argv[:2]) or "nothing"
        print(f"launch.sh: {given}: not one of {names}", file=sys.stderr)
        return 2
    if {"--help", "-h"} & set(rest[: rest.index("--")] if "--" in rest else rest):
        print(command.help)
        return 0
    try:
        settings = parse(command, rest, environ, env_file)
        command.execute(settings, Shell(dry_run=settings.dry_run))
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    except CommandError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _group(argv: Sequence[str]) -> str | None:
    """Return what `endpoint --help` asks for: the commands of that first word; None if nothing asks."""
    if len(argv) != 2 or argv[1] not in ("--help", "-h"):
        return None
    commands = [command for command in COMMANDS if command.name.startswith(f"{argv[0]} ")]
    if not commands:
        return None
    verbs = "|".join(command.name.partition(" ")[2] for command in commands)
    lines = [f"usage: ./launch.sh {argv[0]} {verbs} [flags]", ""]
    lines += [f"  {command.name:<20} {command.summary}" for command in commands]
    lines += ["", f"./launch.sh {commands[0].name} --help lists the flags of that command."]
    return "\n".join(lines)


def _split(argv: Sequence[str]) -> tuple[Command[Any] | None, list[str]]:
    """Return the command, whose name is one word or two, and the rest; None if there is no such command."""
    commands = {command.name: command for command in COMMANDS}
    for length in (2, 1):
        if command := commands.get(" ".join(argv[:length])):
            return command, list(argv[length:])
    return None, []


if __name__ == "__main__":
    try:
        sys.exit(until_output_closes(lambda: main(sys.argv[1:], os.environ)))
    except KeyboardInterrupt:
        sys.exit(130)
