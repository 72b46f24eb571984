"""Reads files on this machine, and on whatever storage the paths with a scheme, such as gs://…, lead to."""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol

from pipeline.model.files.regular_file import read_regular, too_large

_CHUNK_BYTES = 16 * 1024 * 1024
# As Beam tells its filesystems apart.
_SCHEME = re.compile(r"[a-zA-Z][-a-zA-Z0-9+.]*://")


class Storage(Protocol):
    """Files that are not on this machine.

    Each storage raises errors of its own: where there is no such file, FileNotFoundError, or one whose `code`
    is 404.
    """

    def size(self, path: str) -> int:
        """Return the bytes of the file at scheme://…."""

    def open(self, path: str) -> BinaryIO:
        """Open the file at scheme://… to read it as it is, never unpacked."""


def is_local(path: str) -> bool:
    """Return whether `path` is on this machine, rather than a scheme://… path."""
    return _SCHEME.match(path.strip()) is None


class StoredFiles:
    """Files on this machine and on a storage, by their paths."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def fetch(self, path: str, folder: Path, limit: int | None = None) -> Path:
        """Return a local path of the file: a local path as it is, any other copied into `folder`.

        Args:
            path: A local path, which need not exist, or scheme://….
            folder: An existing folder; the copy keeps the file's own name there.
            limit: The bytes that a file that is copied may have; None: as many as the disk has room for.

        Raises:
            FileNotFoundError: There is no such file on the storage.
            OSError: The file cannot be read or is too large, or the copy cannot be written.
        """
        if is_local(path):
            return Path(path)
        target = folder / path.rpartition("/")[2]
        try:
            size = self._storage.size(path)
        except Exception as error:  # each storage raises errors of its own
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
                source = self._storage.open(path)
            except Exception as error:
                raise _unreadable(path, error) from error
            with source:
                while chunk := _read_chunk(source, path):
                    _write_chunk(copy.fileno(), chunk, path, folder)
        return target

    @contextmanager
    def opened(self, path: str) -> Iterator[BinaryIO]:
        """Open a file to read parts of it.

        Raises:
            OSError: It cannot be opened, or is no regular file: a FIFO would be waited for.
        """
        if is_local(path) and Path(path).exists() and not Path(path).is_file():
            raise OSError(f"{path} is no regular file")
        try:
            file = self._open(path)
        except Exception as error:  # each storage raises errors of its own
            raise _unreadable(path, error) from error
        with file:
            yield file

    def read_small(self, path: str, limit: int) -> str:
        """Return the text of a file of at most `limit` bytes of UTF-8.

        Raises:
            FileNotFoundError: There is no such file.
            OSError: It cannot be read, is no regular file, is larger, or is not UTF-8.
        """
        try:
            if is_local(path):
                data = read_regular(path, limit)
            else:
                with self._storage.open(path) as source:
                    data = source.read(limit + 1)
                if len(data) > limit:
                    raise too_large(limit)
        except Exception as error:  # each storage raises errors of its own
            raise _unreadable(path, error) from error
        try:
            return data.decode()
        except UnicodeDecodeError as error:
            raise OSError(f"{path} is not UTF-8: byte 0x{data[error.start]:02x} at {error.start}") from None

    def _open(self, path: str) -> BinaryIO:
        return Path(path).open("rb") if is_local(path) else self._storage.open(path)


def _read_chunk(source: BinaryIO, path: str) -> bytes:
    try:
        return source.read(_CHUNK_BYTES)
    except Exception as error:  # each storage raises errors of its own
        raise _unreadable(path, error) from error


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
