"""launch.env: lines of KEY=value."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection
from pathlib import Path


def read_env_file(path: Path, known: Collection[str]) -> tuple[dict[str, str], list[str]]:
    """Read a file: its values by variable, and what is wrong with it, each problem with its line's number.

    A value may stand in quotes of either kind; nothing in it is evaluated. A comment starts with # at the
    beginning of a line, or after a blank.

    Args:
        path: the file.
        known: the variables that it may hold.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        return {}, [f"{path}: cannot be read: {error.strerror}"]
    except UnicodeDecodeError:
        return {}, [f"{path}: is not text in UTF-8"]
    values: dict[str, str] = {}
    problems = []
    for number, line in enumerate(lines, start=1):
        if re.fullmatch(r"\s*(#.*)?", line):
            continue
        found = re.fullmatch(
            r"""\s*(?:export\s+)?(\w+)=(?:"([^"]*)"|'([^']*)'|([^\s"']*))\s*(?:\s\#.*)?""", line
        )
        if not found:
            problems.append(
                f"{path}, line {number}: not KEY=value; a value with blanks or quotes needs quotes"
            )
            continue
        name = found[1]
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            problems.append(
                f"{path}, line {number}: there is no setting {name}"
                + (f"; did you mean {close[0]}?" if close else "; see launch.env.example")
            )
        elif name in values:
            problems.append(f"{path}, line {number}: {name} is given a second time")
        else:
            values[name] = next((text for text in found.groups()[1:] if text is not None), "")
    return values, problems
