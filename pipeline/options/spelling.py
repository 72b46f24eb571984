"""How flags are spelt: with underscores or dashes, and which one a mistyped one was to be."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Sequence


def with_underscores(texts: Sequence[str], names: Collection[str]) -> list[str]:
    """Return a command line whose --model-path is --model_path.

    Args:
        texts: Flags and their values.
        names: Of the flags that have underscores, without dashes in front; others stay as they are.
    """
    spelt = []
    for text in texts:
        flag, equals, value = text.partition("=")
        name = flag.removeprefix("--").replace("-", "_")
        known = flag.startswith("--") and name in names and flag.removeprefix("--") not in names
        spelt.append(f"--{name}{equals}{value}" if known else text)
    return spelt


def unknown_flags(texts: Sequence[str], names: Collection[str], otherwise: str = "see --help") -> list[str]:
    """Return a sentence for each flag that does not exist, and for each word that is no value of one.

    Args:
        texts: What a parser has left over; a word after a flag without "=" is its value.
        names: Of the flags there are, without dashes in front.
        otherwise: What to do where none of them is close.
    """
    found = []
    for text, before in zip(texts, ["", *texts], strict=False):
        flag = text.partition("=")[0]
        if text.startswith("-"):
            close = difflib.get_close_matches(flag.lstrip("-").replace("-", "_"), list(names), n=1)
            found.append(
                f"{flag}: there is no such flag; {f'did you mean --{close[0]}?' if close else otherwise}"
            )
        elif not before.startswith("-") or "=" in before:
            found.append(f"{text}: not a flag; write --name=value")
    return found
