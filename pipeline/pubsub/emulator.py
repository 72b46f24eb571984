"""PUBSUB_EMULATOR_HOST as people write it."""

from __future__ import annotations

import os
import re
from collections.abc import MutableMapping

VARIABLE = "PUBSUB_EMULATOR_HOST"
_ADDRESS = re.compile(r"(?P<host>[\w.\-]+|\[[0-9A-Fa-f:.]+\]):(?P<port>[0-9]{1,5})", re.ASCII)


def emulator_problems(environment: MutableMapping[str, str] = os.environ) -> list[str]:
    """Return what is wrong with PUBSUB_EMULATOR_HOST; else leave it as HOST:PORT, all that clients take.

    `http://` in front and a slash at the end are taken off. Call it before anything connects.

    Args:
        environment: The variable is read there, and written in its plain form.
    """
    given = environment.get(VARIABLE, "")
    if not given:
        return []
    address = given.strip().removeprefix("http://").rstrip("/")
    found = _ADDRESS.fullmatch(address)
    if found and 0 < int(found["port"]) < 65536:
        environment[VARIABLE] = address
        return []
    if given.strip().startswith("https://"):
        why = "an emulator speaks without TLS"
    elif found or re.fullmatch(r".*:[0-9]+", address):
        why = "there is no such port or host"
    else:
        why = "it needs a host and a port, and nothing after them"
    return [f"{VARIABLE}={given}: {why}: write HOST:PORT, as in 127.0.0.1:8085, or unset it"]
