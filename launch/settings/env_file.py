"""launch.env: lines of KEY=value."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from launch.settings.suggestion import did_you_mean


@dataclass(frozen=True)
class Assignment:
    """What a line of the file sets.

    Attributes:
        text: The value, without its quotes.
        line: The line's number, from 1.
    """

    text: str
    line: int


def read_env_file(path: Path, known: Mapping[str, bool]) -> tuple[dict[str, Assignment], list[str]]:
    """Read a file: what it sets, by variable, and what is wrong with it, each problem with its line's number.

    A value may stand in quotes of either kind; nothing in it is evaluated. A comment starts with # at the
    beginning of a line, or after a blank.

    Args:
        path: The file.
        known: The variables of all settings, each with whether a file may hold it; else a flag alone sets it.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        return {}, [f"{path}: cannot be read: {error.strerror}"]
    except UnicodeDecodeError:
        return {}, [f"{path}: is not text in UTF-8"]
    found: dict[str, Assignment] = {}
    problems = []
    for number, line in enumerate(lines, start=1):
        if re.fullmatch(r"\s*(#.*)?", line):
            continue
        match = re.fullmatch(
            r"""\s*(?:export\s+)?(\w+)=(?:"([^"]*)"|'([^']*)'|([^\s"']*))\s*(?:\s\#.*)?""", line
        )
        if not match:
            problems.append(
                f"{path}, line {number}: not KEY=value; a value with blanks or quotes needs quotes"
            )
            continue
        name = match[1]
        if name not in known:
            fix = did_you_mean(name, (name for name in known if known[name]), "see launch.env.example")
            problems.append(f"{path}, line {number}: there is no setting {name}; {fix}")
        elif not known[name]:
            problems.append(f"{path}, line {number}: {name} is set by its flag alone, on the command line")
        elif name in found:
            problems.append(f"{path}, line {number}: {name} is given a second time")
        else:
            text = next((text for text in match.groups()[1:] if text is not None), "")
            found[name] = Assignment(text, number)
    return found, problems
