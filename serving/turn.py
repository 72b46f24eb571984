"""A turn that one process of the container has at a time."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def turn(file: Path) -> Iterator[None]:
    """Wait until no other process has the turn, and have it; it ends with the process, too.

    Args:
        file: The same for all of them; it is made if it is not there.

    Raises:
        OSError: It cannot be made.
    """
    with file.open("ab") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield
