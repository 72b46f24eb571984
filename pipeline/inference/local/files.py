"""Reads files on this machine and on any of Beam's filesystems (gs://… and others that are installed)."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems

_CHUNK_BYTES = 16 * 1024 * 1024


def is_local(path: str) -> bool:
    """Return whether `path` is on this machine, rather than a scheme://… path."""
    return FileSystems.get_scheme(path) is None


def fetch(path: str, folder: Path) -> Path:
    """Return a local path of the file: a local path as it is, any other copied into `folder`.

    Args:
        path: A local path, which need not exist, or scheme://….
        folder: An existing folder; the copy keeps the file's own name there.

    Raises:
        FileNotFoundError: There is no such file on the filesystem that `path` names.
        OSError: The file cannot be read, or the copy cannot be written.
    """
    if is_local(path):
        return Path(path)
    target = folder / path.rpartition("/")[2]
    try:
        with _open(path) as source, target.open("wb") as copy:
            shutil.copyfileobj(source, copy, _CHUNK_BYTES)
    except Exception as error:  # each filesystem raises errors of its own
        raise _unreadable(path, error) from error
    return target


@contextmanager
def opened(path: str) -> Iterator[BinaryIO]:
    """Open a file to read parts of it.

    Raises:
        OSError: It cannot be opened, or is no regular file: a FIFO would be waited for.
    """
    if is_local(path) and Path(path).exists() and not Path(path).is_file():
        raise OSError(f"{path} is no regular file")
    try:
        file = _open(path)
    except Exception as error:  # each filesystem raises errors of its own
        raise _unreadable(path, error) from error
    with file:
        yield file


def read_small(path: str, limit: int) -> str:
    """Return the text of a file of at most `limit` bytes of UTF-8.

    Raises:
        FileNotFoundError: There is no such file.
        OSError: It cannot be read, is larger, or is not UTF-8.
    """
    try:
        with _open(path) as source:
            data = source.read(limit + 1)
    except Exception as error:  # each filesystem raises errors of its own
        raise _unreadable(path, error) from error
    if len(data) > limit:
        raise OSError(f"{path} has more than {limit:,} bytes")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise OSError(f"{path} is not UTF-8: byte 0x{data[error.start]:02x} at {error.start}") from None


def _open(path: str):  # type: ignore[no-untyped-def]
    # The bytes as they are: by default Beam unpacks files named .gz.
    return FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED)


def _unreadable(path: str, error: Exception) -> OSError:
    # 404: the errors of Google's and Amazon's clients.
    if isinstance(error, FileNotFoundError) or getattr(error, "code", None) == 404:
        return FileNotFoundError(f"there is no file {path}")
    return OSError(f"{path} cannot be read: {error or type(error).__name__}")
