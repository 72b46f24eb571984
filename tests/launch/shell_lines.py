"""The lines of dry runs: printed by the commands, and pasted into a bash whose programs are stand-ins."""

from __future__ import annotations

import io
import shlex
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launch.cloud.shell import Shell
from launch.commands.command import Command
from launch.commands.table import parse
from tests.waiting import LIMIT_S

TOKEN = "a-token"
JOB_ID = "2026-01-02_03_04_05-678"

# Each program writes down how it was called, and so does what is none of them. With `$#`, words may be empty.
_PROGRAMS = ("gcloud", "docker", "curl", "driver")
_PRELUDE = "\n".join(
    [
        *(f'{name}() {{ note {name} "$@"; }}' for name in _PROGRAMS),
        """note() { printf '%s\\0' "$#" "$@" >&3; answer "$@"; }""",
        "answer() { case $* in *print-access-token*) "
        f"echo {TOKEN} ;; *'jobs list'*) echo {JOB_ID} ;; esac }}",
        'command_not_found_handle() { note "not one of the programs" "$@"; }',
        # Bash as a user has it who pastes: it expands what begins with an exclamation mark.
        "set -o history -o histexpand",
    ]
)


@dataclass
class Printed:
    """What a dry run printed.

    Attributes:
        text: All of it.
        argvs: Each command that was handed to `Shell.run`, in order.
    """

    text: str
    argvs: list[list[str]]


class RecordingShell(Shell):
    """A shell under dry_run that also keeps the commands as they were meant."""

    def __init__(self) -> None:
        self.printed = io.StringIO()
        self.argvs: list[list[str]] = []
        super().__init__(dry_run=True, out=self.printed)

    def run(self, argv: Sequence[str]) -> str:
        self.argvs.append(list(argv))
        return super().run(argv)


def dry_run(command: Command[Any], argv: Sequence[str], environ: Mapping[str, str], folder: Path) -> Printed:
    """Print what a command would run; raises SettingsError as the command does."""
    shell = RecordingShell()
    command.execute(parse(command, argv, environ, folder / "no-launch.env"), shell)
    return Printed(shell.printed.getvalue(), shell.argvs)


def printed(
    command: Command[Any], argv: Sequence[str], environ: Mapping[str, str], folder: Path
) -> list[str]:
    """Return the lines of commands, without the comments between them."""
    text = dry_run(command, argv, environ, folder).text
    return [line for line in text.splitlines() if not line.startswith("# ")]


def pasted(text: str, folder: Path) -> list[list[str]]:
    """Paste lines into bash, in an empty folder of their own, and return how each program was called.

    No real program can be run: there is nothing on PATH. A token or a job's id that a line asks for is there.
    """
    bash = shutil.which("bash")
    assert bash
    calls, stay = folder / "calls", folder / "stay"
    stay.mkdir()
    calls.touch()
    ended = subprocess.run(
        # From stdin, as from a terminal: only so are lines with an exclamation mark expanded.
        [bash, "--norc", "--noprofile", "-s"],
        input=f"exec 3>{shlex.quote(str(calls))}\n{_PRELUDE}\n{text}".encode("utf-8", "surrogateescape"),
        cwd=stay,
        env={"PATH": "/nonexistent"},
        capture_output=True,
        timeout=LIMIT_S,
    )
    assert ended.stderr == b"", ended.stderr
    assert list(stay.iterdir()) == []
    words = calls.read_bytes().decode("utf-8", "surrogateescape").split("\0")[:-1]
    found = []
    while words:
        count = int(words.pop(0))
        found.append(words[:count])
        del words[:count]
    return found
