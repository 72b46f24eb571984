"""What `./launch.sh COMMAND --help` prints."""

from __future__ import annotations

from typing import Any

from launch.settings.command_line import ENV_FILE_FLAG
from launch.settings.job import LaunchSettings
from launch.settings.setting import settings_of


def help_text(command: str, summary: str, cls: type[Any]) -> str:
    """Return the help of a command; the fields of the dataclass `cls` declare its settings."""
    declared = settings_of(cls)
    words = [setting for setting in declared if setting.word]
    usage = " ".join(["usage: ./launch.sh", command, *(setting.label for setting in words), "[flags]"])
    if issubclass(cls, LaunchSettings):
        usage += " [-- flags of the job]"
    lines = [usage, "", summary, ""]
    for setting in sorted(declared, key=lambda setting: not setting.word):
        end = " Required." if setting.required else ""
        if setting.default is not None and not setting.switch:
            end = f" Default: {setting.default}."
        lines += [f"  {setting.label}", f"      {setting.help}{end}"]
    lines += [
        f"  {ENV_FILE_FLAG}",
        "      The file to read instead of launch.env.",
        "",
        "Each flag may also be an environment variable, or a line of launch.env: --min-workers is",
        "LAUNCH_MIN_WORKERS. The flag wins over the environment, and that over launch.env.",
    ]
    return "\n".join(lines)
