"""Ask before something that cannot be undone."""

from __future__ import annotations

import sys

from launch.settings.setting import SettingsError


def confirmed(warning: str) -> bool:
    """Show the warning on stderr and return whether the user answers y or yes; anything else is a no.

    Raises:
        SettingsError: There is nobody to ask, as stdin is no terminal.
    """
    if not sys.stdin.isatty():
        raise SettingsError(f"{warning} There is no terminal to ask at: give --yes to go on")
    print(f"{warning} Go on? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")
