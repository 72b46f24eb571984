"""A copy of a model file that nobody else writes: what was checked is what is loaded, and what is named."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from pipeline.model.files.regular_file import open_regular
from pipeline.request.errors import ModelError

# Of 1 MiB, a copy takes twice the processor time. Into memory (a memfd) it is hardly cheaper than onto disk.
_CHUNK_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class PrivateCopy:
    """A copy that exists for a while.

    Attributes:
        path: The copy, in a folder of its own that no other user can enter.
        sha256: Of its bytes, hexadecimal.
    """

    path: str
    sha256: str


@contextmanager
def private_copy(path: str, label: str, *, is_private: bool = False) -> Iterator[PrivateCopy]:
    """Copy a file to where temporary files go (TMPDIR), and remove the copy afterwards.

    The file is read once, for the copy and its SHA-256. Whoever changes the file or a link to it meanwhile
    changes nothing of the copy.

    Args:
        path: A file on this machine.
        label: How messages begin: the flag and the path.
        is_private: The file is such a copy already, as after a download: it is read, and not copied again.

    Raises:
        ModelError: There is no such file, it is none, it changed while it was copied, or the copy finds no
            room (then from an OSError).
    """
    try:
        descriptor = open_regular(path)
    except FileNotFoundError:
        raise ModelError(f"{label}: there is no file") from None
    except OSError as error:
        raise ModelError(f"{label} cannot be read: {error}") from error
    with open(descriptor, "rb", buffering=0) as source, _folder(label) as folder:
        before = os.fstat(descriptor)
        # torch warns of other suffixes.
        target = os.path.join(folder, "model.pt2")
        if is_private:
            digest = _copy(source, None, before.st_size, label)
            os.symlink(os.path.abspath(path), target)
        else:
            _require_room(before.st_size, folder, label)
            with open(target, "wb", buffering=0) as copy:
                digest = _copy(source, copy, before.st_size, label)
        after = os.fstat(descriptor)
        if (before.st_mtime_ns, before.st_size) != (after.st_mtime_ns, after.st_size):
            raise ModelError(f"{label} changed while it was read: write each model to a path of its own")
        yield PrivateCopy(target, digest)


def is_lack_of_room(error: BaseException) -> bool:
    """Return whether an error is that of a full disk."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def _folder(label: str) -> Iterator[str]:
    try:
        folder = tempfile.TemporaryDirectory(prefix="model-")
    except OSError as error:
        raise _no_copy(error, tempfile.gettempdir(), label) from error
    with folder as name:
        yield name


def _require_room(size: int, folder: str, label: str) -> None:
    free = shutil.disk_usage(folder).free
    if free < size:
        error = OSError(errno.ENOSPC, f"it has {size:,} bytes, and {free:,} are free")
        raise _no_copy(error, tempfile.gettempdir(), label) from error


def _copy(source: io.FileIO, copy: io.FileIO | None, size: int, label: str) -> str:
    """Copy a file of `size` bytes, if there is where to, and return the SHA-256 of what was read."""
    digest = hashlib.sha256()
    chunk = memoryview(bytearray(_CHUNK_BYTES))
    while count := _read(source, chunk, label):
        size -= count
        if size < 0:
            break  # it grows, perhaps for ever, and is refused
        digest.update(chunk[:count])
        if copy is not None:
            _write(copy, chunk[:count], label)
    return digest.hexdigest()


def _read(source: io.FileIO, chunk: memoryview, label: str) -> int:
    try:
        return source.readinto(chunk) or 0
    except OSError as error:
        raise ModelError(f"{label} cannot be read: {error}") from error


def _write(copy: io.FileIO, content: memoryview, label: str) -> None:
    try:
        while content:
            content = content[copy.write(content) :]
    except OSError as error:
        raise _no_copy(error, tempfile.gettempdir(), label) from error


def _no_copy(error: OSError, folder: str, label: str) -> ModelError:
    reason = f"the disk is full: {error.strerror}" if is_lack_of_room(error) else str(error)
    return ModelError(
        f"{label} cannot be copied to {folder}, which is done to check and load the "
        f"same bytes ({reason}): make room, or name another folder by the environment variable TMPDIR"
    )
