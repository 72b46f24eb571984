"""What `./launch.sh COMMAND --help` prints."""

from __future__ import annotations

import shutil
import textwrap
from typing import Any

from launch.settings.command_line import ENV_FILE_FLAG
from launch.settings.job import LaunchSettings
from launch.settings.setting import Setting, settings_of


def help_text(command: str, summary: str, cls: type[Any]) -> str:
    """Return the help of a command, as wide as the terminal; the fields of `cls` declare its settings."""
    declared = settings_of(cls)
    words = [setting for setting in declared if setting.word]
    usage = " ".join(["usage: ./launch.sh", command, *(setting.label for setting in words), "[flags]"])
    if issubclass(cls, LaunchSettings):
        usage += " [-- flags of the job]"
    parts = [_wrapped(usage), "", _wrapped(summary), ""]
    for setting in sorted(declared, key=lambda setting: not setting.word):
        parts += [f"  {setting.label}", _wrapped(setting.help + _end(setting), indent=6)]
    which = "Each other flag" if any(_from_flag_alone(setting) for setting in declared) else "Each flag"
    parts += [
        f"  {ENV_FILE_FLAG}",
        _wrapped("The file to read instead of launch.env.", indent=6),
        "",
        _wrapped(
            f"{which} may also be an environment variable, or a line of launch.env: --dry-run is "
            "LAUNCH_DRY_RUN. The flag wins over the environment, and that over launch.env."
        ),
    ]
    return "\n".join(parts)


def _end(setting: Setting) -> str:
    end = ""
    if setting.required:
        end += " Required."
    if setting.default is not None and not setting.switch:
        end += f" Default: {setting.default}."
    if _from_flag_alone(setting):
        end += " By this flag alone."
    return end


def _from_flag_alone(setting: Setting) -> bool:
    return setting.flag_only and not setting.word


def _wrapped(text: str, indent: int = 0) -> str:
    """Return text in lines of the terminal's width, 120 at most; a name or a path stays whole."""
    return textwrap.fill(
        text,
        width=min(shutil.get_terminal_size().columns, 120),
        initial_indent=" " * indent,
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
