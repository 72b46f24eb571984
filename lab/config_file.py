"""Flags out of a file: `--config FILE`, TOML with a line for each flag."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path

from pipeline.options.spelling import with_underscores

FLAG = "config"


class ConfigError(Exception):
    """A file of flags cannot be used; the message says which and why."""


def with_config(arguments: Sequence[str], names: Sequence[str]) -> list[str]:
    """Return a command line with the flags of the file that its `--config` names put before its own.

    A flag that stands in both counts as it is on the command line. Flags of the job stand in `job`, a list.

    Args:
        arguments: The command line; what follows `--` goes to the job.
        names: Flags of the command.

    Raises:
        ConfigError: The file cannot be read, or holds what is no flag.
    """
    split = list(arguments).index("--") if "--" in arguments else len(arguments)
    own, of_job = with_underscores(arguments[:split], [*names, FLAG]), list(arguments[split + 1 :])
    path, rest = _taken(own)
    if path is None:
        return list(arguments)
    values = _read(path)
    given = {text.partition("=")[0].removeprefix("--") for text in rest if text.startswith("--")}
    from_file: list[str] = []
    job = values.pop("job", [])
    if not isinstance(job, list) or not all(isinstance(text, str) for text in job):
        raise ConfigError(f'{path}: job must be a list of flags, such as ["--max_batch_size=32"]')
    for name, value in values.items():
        spelt = name.replace("-", "_")
        if spelt not in names:
            raise ConfigError(f"{path}: {name} is no flag: see --help")
        if spelt not in given:
            from_file += _as_flags(path, spelt, value)
    return [*from_file, *rest, *(["--", *job, *of_job] if job or of_job else [])]


def _taken(arguments: Sequence[str]) -> tuple[Path | None, list[str]]:
    """Return the file that is named, and the arguments without its flag."""
    path, rest, left = None, [], iter(arguments)
    for text in left:
        name, equals, value = text.partition("=")
        if name != f"--{FLAG}":
            rest.append(text)
        elif equals:
            path = Path(value)
        elif (following := next(left, None)) is not None:
            path = Path(following)
    return path, rest


def _read(path: Path) -> dict[str, object]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"--config={path} cannot be read ({error.strerror}): give a TOML file") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"--config={path} is not TOML: {error}") from error


def _as_flags(path: Path, name: str, value: object) -> list[str]:
    if isinstance(value, bool):
        return [f"--{name}"] if value else []
    if isinstance(value, list):
        return [flag for one in value for flag in _as_flags(path, name, one)]
    if not isinstance(value, str | int | float):
        raise ConfigError(f"{path}: {name} must be a text, a number, true or a list of them")
    return [f"--{name}={value}"]
