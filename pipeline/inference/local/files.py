"""Reads files on this machine and on any of Beam's filesystems (gs://… and others that are installed)."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems

from pipeline.model.files.regular_file import read_regular, too_large

_CHUNK_BYTES = 16 * 1024 * 1024


def is_local(path: str) -> bool:
    """Return whether `path` is on this machine, rather than a scheme://… path."""
    return FileSystems.get_scheme(path) is None


def fetch(path: str, folder: Path, limit: int | None = None) -> Path:
    """Return a local path of the file: a local path as it is, any other copied into `folder`.

    Args:
        path: A local path, which need not exist, or scheme://….
        folder: An existing folder; the copy keeps the file's own name there.
        limit: The bytes that a file that is copied may have; None: as many as the disk has room for.

    Raises:
        FileNotFoundError: There is no such file on the filesystem that `path` names.
        OSError: The file cannot be read or is too large, or the copy cannot be written.
    """
    if is_local(path):
        return Path(path)
    target = folder / path.rpartition("/")[2]
    try:
        size = FileSystems.get_filesystem(path).size(path)
    except Exception as error:  # each filesystem raises errors of its own
        raise _unreadable(path, error) from error
    if limit is not None and size > limit:
        raise _unreadable(path, too_large(limit))
    # Asked before: a download that the disk cannot hold takes minutes, and may be tried again and again.
    free = shutil.disk_usage(folder).free
    if size > free:
        raise _no_room(path, folder, f"it has {size:,} bytes, and {free:,} are free")
    with target.open("wb", buffering=0) as copy:
        try:
            # Opened here, so that what goes wrong with the copy is not taken for the storage's trouble.
            source = _open(path)
        except Exception as error:
            raise _unreadable(path, error) from error
        with source:
            while chunk := _read_chunk(source, path):
                _write_chunk(copy.fileno(), chunk, path, folder)
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
        OSError: It cannot be read, is no regular file, is larger, or is not UTF-8.
    """
    try:
        if is_local(path):
            data = read_regular(path, limit)
        else:
            with _open(path) as source:
                data = source.read(limit + 1)
            if len(data) > limit:
                raise too_large(limit)
    except Exception as error:  # each filesystem raises errors of its own
        raise _unreadable(path, error) from error
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise OSError(f"{path} is not UTF-8: byte 0x{data[error.start]:02x} at {error.start}") from None


def _open(path: str):  # type: ignore[no-untyped-def]
    # The bytes as they are: by default Beam unpacks files named .gz.
    return FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED)


def _read_chunk(source: Any, path: str) -> bytes:
    try:
        chunk: bytes = source.read(_CHUNK_BYTES)
    except Exception as error:  # each filesystem raises errors of its own
        raise _unreadable(path, error) from error
    return chunk


def _write_chunk(copy: int, chunk: bytes, path: str, folder: Path) -> None:
    content = memoryview(chunk)
    try:
        while content:
            content = content[os.write(copy, content) :]
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise _no_room(path, folder, str(error)) from error
        raise


def _no_room(path: str, folder: Path, reason: str) -> OSError:
    return OSError(
        errno.ENOSPC,
        f"{path} cannot be copied to {folder.parent}: the disk is full ({reason}): make room, or name "
        "another folder by the environment variable TMPDIR",
    )


def _unreadable(path: str, error: Exception) -> OSError:
    # 404: the errors of Google's and Amazon's clients.
    if isinstance(error, FileNotFoundError) or getattr(error, "code", None) == 404:
        return FileNotFoundError(f"there is no file {path}")
    return OSError(f"{path} cannot be read: {error or type(error).__name__}")
