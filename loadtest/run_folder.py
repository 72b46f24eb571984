"""The folder of a run: for its user alone, one run at a time; earlier results stay until a run has begun."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

RESULTS = "results.jsonl"
DEAD_LETTERS = "dead_letters.jsonl"
SUMMARY = "summary.json"
SETTINGS = "settings.json"

# The raw log, from which all figures are made.
RUN = "run.json"
MESSAGES = "messages.npz"
SAMPLES = "samples.jsonl"


class FolderError(Exception):
    """A folder cannot take a run; the message says which and why, and what to do."""


def make_private(folder: Path) -> None:
    """Make a folder that its owner alone can enter, unless it is there; those above it are ordinary ones.

    A folder that is there keeps its mode: it may hold more than runs.

    Raises:
        FolderError: It cannot be made.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise FolderError(
            f"{folder} cannot be made ({error.strerror}): give another folder by --out"
        ) from error


def make_fresh(folder: Path) -> Path:
    """Make a private folder that was not there, and return it: -2, -3 … is appended to a name that is taken.

    Raises:
        FolderError: None can be made.
    """
    number = 1
    while True:
        fresh = folder if number == 1 else folder.with_name(f"{folder.name}-{number}")
        try:
            fresh.parent.mkdir(parents=True, exist_ok=True)
            fresh.mkdir(mode=0o700)
        except FileExistsError:
            number += 1
        except OSError as error:
            raise FolderError(f"{fresh} cannot be made ({error.strerror}): give another by --out") from error
        else:
            return fresh


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Make a folder if it is not there, and keep it from other runs until the context ends.

    The lock is the open folder's: nothing of it stays, however the process ends.

    Raises:
        FolderError: Another run has it, or it cannot be used.
    """
    make_private(folder)
    try:
        # Better now than in the middle of a start.
        os.rmdir(tempfile.mkdtemp(dir=folder))
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise FolderError(f"{folder} cannot be used ({error.strerror}): give another by --out") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FolderError(
                f"{folder} is in use by another run: wait until it has ended, or give another folder by --out"
            ) from None
        yield
    finally:
        os.close(descriptor)


def new_file(path: Path, buffering: int = -1) -> BinaryIO:
    """Open a new file to write to, for its owner alone, in the place of whatever is there.

    A link there is removed, not followed.
    """
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    return os.fdopen(descriptor, "wb", buffering)


def append_to(path: Path) -> BinaryIO:
    """Open a file that is there to write at its end; a link is refused with an OSError."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC), "ab")


def replace_file(path: Path, content: bytes) -> None:
    """Write a private file under a temporary name, then put it in its place: whoever reads sees all of it."""
    part = path.with_name(f".{path.name}.part")
    with new_file(part) as file:
        file.write(content)
    part.replace(path)


def note_of_earlier_results(folder: Path) -> str | None:
    """Return what to tell the user of a folder that holds results already."""
    if not any((folder / name).exists() for name in (RESULTS, DEAD_LETTERS, SUMMARY)):
        return None
    return (
        f"{folder} holds results of an earlier run, which this one replaces once a first request is answered"
    )


class Staging:
    """Where a run's files are until it has begun: a hidden folder inside the run's own.

    Attributes:
        path: The hidden folder.
        begun: Whether the files have been put in their places.
    """

    def __init__(self, folder: Path, run_id: str) -> None:
        self._folder = folder
        self.path = folder / f".run-{run_id}"
        self.begun = False
        self.path.mkdir(mode=0o700)

    def __enter__(self) -> Staging:
        return self

    def __exit__(self, *exception: object) -> None:
        shutil.rmtree(self.path)

    def begin(self) -> None:
        """Put the files in the places of an earlier run's, whose summary, facts and settings go."""
        for name in (SUMMARY, RUN, SETTINGS):
            (self._folder / name).unlink(missing_ok=True)
        for file in self.path.iterdir():
            file.replace(self._folder / file.name)
        self.begun = True
