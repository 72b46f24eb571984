"""A configuration in a YAML file, for `plan compare`: flags and values, the job's own under `job`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from launch.settings.setting import SettingsError

JOB = "job"


def arguments_of(path: Path) -> list[str]:
    """Return the command line that a file stands for: `max_workers: 4` is --max-workers=4.

    Raises:
        SettingsError: The file is unreadable, or holds something else.
    """
    try:
        content = yaml.safe_load(path.read_text())
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} is no YAML: {error}") from error
    if not isinstance(content, Mapping):
        raise SettingsError(f"{path}: write a line for each flag, as in 'max_workers: 4'")
    return arguments(content, str(path))


def arguments(content: Mapping[str, Any], where: str) -> list[str]:
    """Return the command line of flags by name.

    Args:
        content: Values by flag, with dashes or underscores between words; those of the job under "job".
        where: For messages.

    Raises:
        SettingsError: A value is no text, number or truth value.
    """
    job = content.get(JOB) or {}
    if not isinstance(job, Mapping):
        raise SettingsError(f"{where}: {JOB}: write the job's flags below it, as in 'max_batch_size: 64'")
    own = {key: value for key, value in content.items() if key != JOB}
    words = [f"--{str(key).replace('_', '-')}={_text(key, value, where)}" for key, value in own.items()]
    if job:
        words += ["--", *(f"--{key}={_text(key, value, where)}" for key, value in job.items())]
    return words


def _text(key: object, value: object, where: str) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, str | int | float):
        raise SettingsError(f"{where}: {key}: {value!r} is no text or number")
    return str(value)
