"""From command line, environment and launch.env to the settings of a command, or to all that is wrong."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from launch.settings.command_line import ENV_FILE_FLAG, read_command_line
from launch.settings.common import Settings
from launch.settings.env_file import Assignment, read_env_file
from launch.settings.job import LaunchSettings
from launch.settings.setting import Setting, SettingsError, settings_of

S = TypeVar("S", bound=Settings)

ENV_FILE_VARIABLE = "LAUNCH_ENV_FILE"


def read_settings(
    cls: type[S],
    command: str,
    argv: Sequence[str],
    environ: Mapping[str, str],
    env_file: Path,
    known: Mapping[str, bool],
) -> S:
    """Return the settings of a command.

    A flag wins over the environment, that over launch.env, that over the default. An empty value, as in
    `--gpu=`, stands for the default, whatever the sources below say.

    Args:
        cls: The dataclass whose fields declare the settings.
        command: Its name, for messages.
        argv: What follows the command's name. What follows `--` are the job's own flags.
        environ: The environment.
        env_file: launch.env. It may be missing, unless --env-file or LAUNCH_ENV_FILE names another.
        known: The variables of the settings of all commands, each with whether a file may hold it.

    Raises:
        SettingsError: With every problem, one a line.
    """
    declared = settings_of(cls)
    takes_job_flags = issubclass(cls, LaunchSettings)
    line = read_command_line(command, declared, argv, takes_job_flags=takes_job_flags)
    problems = line.problems
    in_file: Mapping[str, Assignment] = {}
    named = line.given.get(ENV_FILE_FLAG, environ.get(ENV_FILE_VARIABLE, ""))
    file = Path(named) if named else env_file
    if named or file.is_file():
        in_file, wrong = read_env_file(file, known)
        problems += wrong
    found: dict[str, Any] = {"job_flags": line.job_flags} if takes_job_flags else {}
    # The word last, as its problem is listed last.
    for setting in sorted(declared, key=lambda setting: setting.word):
        sources = [(setting.label, line.word if setting.word else line.given.get(setting.label))]
        if not setting.flag_only and not setting.word:
            sources.append((setting.variable, environ.get(setting.variable)))
            if set_by_file := in_file.get(setting.variable):
                place = f"{setting.variable} in {file}, line {set_by_file.line}"
                sources.append((place, set_by_file.text))
        found |= _value(setting, sources, problems)
    if problems:
        raise SettingsError("\n".join(problems))
    return cls(**found)


def _value(
    setting: Setting, sources: Iterable[tuple[str, str | None]], problems: list[str]
) -> dict[str, Any]:
    """Return the value by the setting's name; an empty dict if the default stands, or if it is wrong."""
    for source, text in sources:
        if text is None:
            continue
        if not text:
            break
        try:
            return {setting.name: setting.parse(text)}
        except ValueError as error:
            problems.append(f"{source}: {error}")
            return {}
    if setting.required:
        problems.append(f"{setting.label}: missing. {setting.help}")
    return {}
