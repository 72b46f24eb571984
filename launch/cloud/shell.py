"""Run commands for a user, or print them under --dry-run. A refusal is one line, with what to do about it."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from typing import Any, TextIO

_QUOTA_PROJECT = r"serviceusage\.services\.use|quota project|user_project_denied"
# What a refusal says (gcloud's stderr, in any case) → what to do about it. The first that matches wins.
_ADVICE = (
    (
        _QUOTA_PROJECT,
        "the account needs serviceusage.services.use (role Service Usage Consumer) in the project that its "
        "calls are counted for, or name another: gcloud config set billing/quota_project PROJECT",
    ),
    (
        r"certificate[_ ]verify[_ ]failed",
        "have SSL_CERT_FILE, and gcloud config set core/custom_ca_certs_file, name a file of all certificate "
        "authorities that are trusted, your own too",
    ),
    (
        "application default credentials|default credentials were not found",
        "log in for programs, too: gcloud auth application-default login",
    ),
    (
        r"active account|reauthentication|could not automatically determine credentials|unauthenticated"
        r"|invalid_grant|problem refreshing your current auth tokens",
        "log in: gcloud auth login",
    ),
    (
        r"has not been used in project|is disabled|service_disabled",
        "switch the API on: gcloud services enable",
    ),
    (
        r"resource_exhausted|quota|\b429\b",
        "ask for more quota, or for fewer or smaller machines, or use another region",
    ),
    (
        r"already_exists|already exists|\b409\b|aborted:|conflict",
        "choose another name, or wait until the other operation on it has ended",
    ),
    (
        r"permission_denied|not have (?:sufficient )?permission|permission denied|\b403\b|forbidden",
        "the account that gcloud uses (gcloud auth list) needs this permission in the project",
    ),
    (r"not_found|not found|\b404\b", "check the name, --project and --region"),
)

# As Python takes arguments that are not UTF-8.
_UTF8 = ("utf-8", "surrogateescape")


class CommandError(Exception):
    """A command that was refused or could not run. `str()` is one line: what was refused, and what to do."""


class Shell:
    """Runs commands; with `dry_run`, prints each to `out` instead, one a line, quoted for pasting.

    Attributes:
        dry_run: Whether commands are printed only.
        out: Where notes and, under `dry_run`, commands go; stdout by default.
    """

    def __init__(self, *, dry_run: bool, out: TextIO | None = None) -> None:
        self.dry_run = dry_run
        self.out = sys.stdout if out is None else out

    def run(self, argv: Sequence[str]) -> str:
        """Run a command and return its stdout; "" under dry_run.

        Raises:
            CommandError: The program is missing, or the command failed.
        """
        if self.dry_run:
            print(shell_line(argv), file=self.out)
            return ""
        try:
            ended = subprocess.run(
                argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
            )
        except OSError as error:
            raise CommandError(_not_started(argv[0], error)) from None
        # `gcloud dataflow jobs drain` and `cancel` end with 0 even when they are refused.
        if ended.returncode or re.search(r"^Failed to ", ended.stderr, re.MULTILINE):
            # bq tells its errors on stdout.
            raise CommandError(_failed(argv, ended.stderr or ended.stdout, ended.returncode))
        return ended.stdout

    def note(self, text: str) -> None:
        """Tell the user on one line what goes on; under dry_run as a comment, so that all can be pasted."""
        shown = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
        print(f"# {shown}" if self.dry_run else shown, file=self.out)

    def read(self, argv: Sequence[str]) -> Any:
        """Run a command that prints JSON (`… --format=json`) and return the value; None under dry_run.

        Raises:
            CommandError: As `run`, or the output is not JSON.
        """
        printed = self.run(argv)
        if self.dry_run:
            return None
        try:
            return json.loads(printed)
        except ValueError:
            raise CommandError(f"{_name(argv)}: expected JSON, it printed {printed[:80]!r}") from None


def shell_line(argv: Sequence[str], variable: str | None = None) -> str:
    """Return a command as one line to paste into bash or zsh; the arguments are those of `shell_quote`."""
    return " ".join(shell_quote(word, variable) for word in argv)


def shell_quote(word: str, variable: str | None = None) -> str:
    """Return one word as bash and zsh read it back, in printable characters only.

    Args:
        word: Any text.
        variable: Such as $JOB_ID: where the word holds it, the shell fills it in.
    """
    parts = word.split(variable) if variable else [word]
    quoted = [_quote(part) if part or len(parts) == 1 else "" for part in parts]
    return f'"{variable}"'.join(quoted)


def _quote(text: str) -> str:
    if text.isprintable():
        return shlex.quote(text)
    # A terminal would act on it as it stands: ESC [ 201 ~ ends what it takes for pasted, whatever the quotes.
    escaped = (
        character if character.isalnum() else "".join(f"\\x{byte:02x}" for byte in character.encode(*_UTF8))
        for character in text
    )
    return f"$'{''.join(escaped)}'"


def refusal(what: str, reason: str) -> str:
    """Return one line: what was asked for, what the answer was, and what to do about it if that is known."""
    advice = next((advice for pattern, advice in _ADVICE if re.search(pattern, reason, re.IGNORECASE)), None)
    return f"{what}: {' '.join(reason.split())}" + (f" – {advice}" if advice else "")


def is_about_quota_project(reason: str) -> bool:
    """Return whether a refusal is about the project that calls are counted for."""
    return re.search(_QUOTA_PROJECT, reason, re.IGNORECASE) is not None


def _not_started(program: str, error: OSError) -> str:
    if not isinstance(error, FileNotFoundError):
        return f"{program} cannot be started: {error.strerror}"
    if program == "gcloud":
        return (
            "gcloud was not found: install the Google Cloud CLI (https://cloud.google.com/sdk/docs/install)"
        )
    return f"{program} was not found: install it, or put its folder on PATH"


def _failed(argv: Sequence[str], stderr: str, code: int) -> str:
    return refusal(_name(argv), _reason(stderr) or f"it ended with exit code {code} and said nothing")


def _reason(stderr: str) -> str:
    """Return the reason in a command's stderr, on one line: what follows ERROR, else the last line."""
    # gcloud adds these hints whatever went wrong.
    stderr = re.sub(r" This command is authenticated .*? property\b\.?", "", stderr)
    stderr = re.sub(r" Ensure that you have permission to access the job and .*", "", stderr)
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    for place, line in enumerate(lines):
        if found := re.match(r"(?:ERROR: (?:\([\w.-]+\) )?|(?=Failed to ))(.*)", line):
            # Plain lines that follow belong to it; gcloud's details (YAML, hints) do not.
            rest = []
            for later in lines[place + 1 :]:
                if later.endswith(":") or re.match(r"[-'{$]|ERROR: |\w+:|To |Please ", later):
                    break
                rest.append(later)
            return " ".join([found[1], *rest]).strip().rstrip(".")
    return lines[-1].rstrip(".") if lines else ""


def _name(argv: Sequence[str]) -> str:
    """Return the words before the first flag or value, such as `gcloud ai endpoints create`."""
    words: list[str] = []
    for word in argv:
        if not re.fullmatch(r"[a-z][a-z-]*", word) and words:
            break
        words.append(word)
    return " ".join(words)
