"""From the words after a command to flags, the command's own word and the job's flags; values stay texts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from launch.settings.setting import Command, Setting

# Options that are lists: given twice, they add up.
LIST_OPTIONS = ("experiments", "dataflow_service_options")


@dataclass
class CommandLine:
    """A command line as texts: flags by name, the command's one word, the job's flags; and what is wrong."""

    given: dict[str, str]
    word: str | None
    job_flags: dict[str, str]
    problems: list[str]


def read_command_line(command: Command, flags: Mapping[str, Setting], argv: Sequence[str]) -> CommandLine:
    """Sorts the words of a command line; `flags`: the settings that the command has, by name."""
    line = CommandLine({}, None, {}, [])
    words = list(argv)
    if "--" in words:
        cut = words.index("--")
        words, after = words[:cut], words[cut + 1 :]
        if command.takes_job_flags:
            line.job_flags = _read_job_flags(after, line.problems)
        else:
            line.problems.append(f"--: {command.name} takes no flags of the job")
    while words:
        text = words.pop(0)
        name, equals, value = text.removeprefix("--").partition("=")
        if not text.startswith("--"):
            if command.word is None or line.word is not None:
                line.problems.append(f"{text}: not a flag; see ./launch.sh {command.name} --help")
            else:
                line.word = text
        elif name != "env-file" and name not in flags:
            line.problems.append(
                f"--{name}: {command.name} has no such flag; see ./launch.sh {command.name} --help "
                "(flags of the job come after --)"
            )
        elif equals:
            line.given[name] = value
        elif name in flags and flags[name].switch:
            line.given[name] = "true"
        elif words and not words[0].startswith("--"):
            line.given[name] = words.pop(0)
        else:
            line.problems.append(f"--{name}: needs a value, as in --{name}=VALUE")
    return line


def _read_job_flags(words: Iterable[str], problems: list[str]) -> dict[str, str]:
    flags: dict[str, str] = {}
    for text in words:
        found = re.fullmatch(r"--(\w+)=(.*)", text, re.DOTALL)
        if not found:
            problems.append(f"{text}: a flag of the job is written --name=value; templates pass nothing else")
            continue
        name, value = found.groups()
        if name in flags and name in LIST_OPTIONS:
            flags[name] += f",{value}"
        elif name in flags:
            problems.append(f"--{name}: given twice")
        else:
            flags[name] = value
    return flags
