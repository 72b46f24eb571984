"""How a setting of a launch command is declared: one field of a dataclass, with its parser and its help.

The declaration is all there is of a setting: flag, variable, help, default and type follow from it. mypy
checks that the parser returns what the field holds, and that an optional setting may be None.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, TypeVar, overload

from pipeline.options.values import boolean

T = TypeVar("T")

_METADATA = "setting"


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One setting: `--min-workers` on the command line, LAUNCH_MIN_WORKERS elsewhere.

    Attributes:
        parse: From the text to the value; raises ValueError that says what is wrong.
        help: One sentence or two, for --help and for the message of a missing setting.
        default: Text, parsed like any other; None if the setting is None unless it is given.
        required: Whether the command does not start without it.
        switch: Whether the flag alone means true; its value, if any, is written --dry-run=false.
        flag_only: Whether the environment and launch.env do not set it.
        word: Whether it is the command's one word, as in `status JOB`, and no flag.
        name: The name of its field, such as min_workers; `settings_of` fills it in.
    """

    parse: Callable[[str], Any]
    help: str
    default: str | None = None
    required: bool = False
    switch: bool = False
    flag_only: bool = False
    word: bool = False
    name: str = ""

    @property
    def label(self) -> str:
        """What help and messages call it: the flag, or the word in capitals."""
        return self.name.upper() if self.word else f"--{self.name.replace('_', '-')}"

    @property
    def variable(self) -> str:
        """Its name in the environment and in launch.env."""
        return f"LAUNCH_{self.name.upper()}"


class SettingsError(Exception):
    """Settings that are wrong: one problem a line, each with its fix."""


@overload
def setting(parse: Callable[[str], T], help: str, *, required: Literal[True]) -> T: ...


@overload
def setting(parse: Callable[[str], T], help: str, *, default: str, flag_only: bool = False) -> T: ...


@overload
def setting(parse: Callable[[str], T], help: str, *, flag_only: bool = False) -> T | None: ...


def setting(
    parse: Callable[[str], Any],
    help: str,
    *,
    default: str | None = None,
    required: bool = False,
    flag_only: bool = False,
) -> Any:
    """Declare a field as a setting; the arguments are those of `Setting`."""
    return _field(Setting(parse=parse, help=help, default=default, required=required, flag_only=flag_only))


def switch(help: str, *, flag_only: bool = False) -> bool:
    """Declare a field as a setting that is false unless its flag, alone, makes it true."""
    declared = Setting(parse=boolean, help=help, default="false", switch=True, flag_only=flag_only)
    found: bool = _field(declared)
    return found


def word(parse: Callable[[str], T], help: str) -> T:
    """Declare a field as the one word that the command takes besides its flags."""
    found: T = _field(Setting(parse=parse, help=help, required=True, word=True))
    return found


def settings_of(cls: type[Any]) -> list[Setting]:
    """Return what the fields of a dataclass declare, in their order; the command's word among them."""
    return [
        replace(each.metadata[_METADATA], name=each.name)
        for each in fields(cls)
        if _METADATA in each.metadata
    ]


def _field(declared: Setting) -> Any:
    metadata = {_METADATA: declared}
    if declared.required:
        return field(metadata=metadata)
    default = None if declared.default is None else declared.parse(declared.default)
    return field(default=default, metadata=metadata)
