"""From the words after a command to flags, the command's own word and the job's flags; values stay text."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

from launch.settings.setting import Setting
from launch.settings.suggestion import did_you_mean
from pipeline.options.job_options import FLAGS

ENV_FILE_FLAG = "--env-file"
# Flags of the job that are lists: given twice, they add up.
LIST_OPTIONS = ("experiments", "dataflow_service_options")
_FLAGS_OF_THE_JOB = frozenset(f"--{flag.name}" for flag in FLAGS)


@dataclass
class CommandLine:
    """A command line as text.

    Attributes:
        given: Values by flag, with its dashes.
        word: The command's one word; None if it was not given.
        job_flags: What follows `--`, by name without dashes.
        problems: What is wrong with the line, one problem each.
    """

    given: dict[str, str] = field(default_factory=dict)
    word: str | None = None
    job_flags: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def read_command_line(
    command: str, declared: Sequence[Setting], argv: Sequence[str], *, takes_job_flags: bool
) -> CommandLine:
    """Sort the words of a command line; `declared`: the settings that the command has."""
    flags = {setting.label: setting for setting in declared if not setting.word}
    takes_word = any(setting.word for setting in declared)
    line = CommandLine()
    words = list(argv)
    if "--" in words:
        cut = words.index("--")
        words, after = words[:cut], words[cut + 1 :]
        if takes_job_flags:
            line.job_flags = _read_job_flags(after, line.problems)
        else:
            line.problems.append(f"--: {command} takes no flags of the job")
    while words:
        text = words.pop(0)
        flag, equals, value = text.partition("=")
        if not text.startswith("--"):
            if not takes_word or line.word is not None:
                line.problems.append(f"{text}: not a flag; see ./launch.sh {command} --help")
            else:
                line.word = text
        elif flag != ENV_FILE_FLAG and flag not in flags:
            fix = did_you_mean(flag, _misspelt(flag, flags), f"see ./launch.sh {command} --help")
            line.problems.append(
                f"{flag}: {command} has no such flag; {fix} (flags of the job come after --)"
            )
        elif equals:
            _add(line, flag, value)
        elif flag in flags and flags[flag].switch:
            _add(line, flag, "true")
        elif words and not words[0].startswith("--"):
            _add(line, flag, words.pop(0))
        else:
            line.problems.append(f"{flag}: needs a value, as in {flag}=VALUE")
    return line


def _misspelt(flag: str, declared: Collection[str]) -> list[str]:
    """Return the flags that an unknown one may be a misspelling of; none if it is a flag of the job."""
    if flag in _FLAGS_OF_THE_JOB and flag.replace("_", "-") not in declared:
        return []
    return [*declared, ENV_FILE_FLAG]


def _add(line: CommandLine, flag: str, value: str) -> None:
    if flag in line.given:
        line.problems.append(f"{flag}: given twice")
    else:
        line.given[flag] = value


def _read_job_flags(words: Iterable[str], problems: list[str]) -> dict[str, str]:
    flags: dict[str, str] = {}
    for text in words:
        found = re.fullmatch(r"--([\w\-]+)=(.*)", text, re.DOTALL)
        if not found:
            problems.append(f"{text}: a flag of the job is written --name=value; templates pass nothing else")
            continue
        # With dashes, as the flags of a launch have them, it means the same.
        name, value = found[1].replace("-", "_"), found[2]
        if not value and (f"--{name}" in _FLAGS_OF_THE_JOB or name in LIST_OPTIONS):
            continue  # empty, it is not given
        if name in flags and name in LIST_OPTIONS:
            flags[name] += f",{value}"
        elif name in flags:
            problems.append(f"--{name}: given twice")
        else:
            flags[name] = value
    return flags
