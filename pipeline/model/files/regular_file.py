"""Opens files that a stranger may have put there: regular ones only, without waiting, up to a size."""

from __future__ import annotations

import os
import stat


def open_regular(path: str | os.PathLike[str]) -> int:
    """Return a descriptor of a regular file, opened for reading; the caller closes it.

    Raises:
        FileNotFoundError: There is no such file.
        OSError: It is a folder, a FIFO, a device or a socket, or it cannot be read.
    """
    # Without O_NONBLOCK, a FIFO that nobody writes to would block for good.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode):
            raise OSError(f"it is {_kind(mode)}: expected a file")
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def read_regular(path: str | os.PathLike[str], limit: int) -> bytes:
    """Return the content of a regular file of at most `limit` bytes.

    Raises:
        FileNotFoundError: There is no such file.
        OSError: See `open_regular`; or it is larger.
    """
    with open(open_regular(path), "rb") as file:
        # Its size is looked at first: of a sparse file, the holes would be read as well.
        if os.fstat(file.fileno()).st_size > limit:
            raise too_large(limit)
        content = file.read(limit + 1)
    if len(content) > limit:
        raise too_large(limit)
    return content


def too_large(limit: int) -> OSError:
    """Return the error of a file of more than `limit` bytes."""
    return OSError(f"it has more than {limit:,} bytes")


def _kind(mode: int) -> str:
    if stat.S_ISDIR(mode):
        return "a directory"
    if stat.S_ISFIFO(mode):
        return "a FIFO"
    return "a device or a socket"
