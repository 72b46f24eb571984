"""What a sender and whoever watches it share: the schedule, what has left, counts, and an order."""

from __future__ import annotations

import mmap
import os
import tempfile
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_ERROR_BYTES = 1024
_WORD_BYTES = 8

# Memory in the form of a file, where the system has that; elsewhere a file on the disk does.
_MEMORY = Path("/dev/shm")


def shared_file(messages: int, senders: int) -> IO[bytes]:
    """Open an unnamed file for the states of a run, whose descriptor other processes may inherit and map.

    Raises:
        OSError: There is no room for it.
    """
    size = SharedStates.size(messages, senders)
    if _MEMORY.is_dir():
        file = tempfile.TemporaryFile(dir=_MEMORY)  # noqa: SIM115 - the caller closes it
        try:
            # Reserved now: where a container's memory files are few, writing would end the process later.
            os.posix_fallocate(file.fileno(), 0, size)
        except OSError:
            file.close()
        else:
            return file
    file = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
    file.truncate(size)
    return file


class Order(IntEnum):
    """What a sender is to do; each includes those before it."""

    WAIT = 0
    SEND = 1
    STOP = 2  # send nothing new; what was handed over is still awaited and retried
    CLOSE = 3  # give up what has no answer yet


class Count(IntEnum):
    """What a sender counts, by place."""

    SENT = 0
    PUBLISHED = 1
    ERRORS = 2
    CALLS = 3
    READY = 4
    FINISHED = 5
    ORDER = 6  # the one that its watcher writes


@dataclass(frozen=True)
class SenderState:
    """The state of one sender, each word of it written by one side only; reading takes no lock.

    Attributes:
        intended: [m] epoch seconds at which each of its messages is due; complete before Order.SEND.
        sent_at: [m] epoch seconds at which the call that carries each message was written to the socket, or
            failed without; NaN before.
        counts: [7] int64, see `Count`: messages handed over, accepted by the broker, and given up; Publish
            calls; whether it waits for orders, and whether all is sent and each message published or failed.
        error: [1024] uint8, the status and details of the last failure as UTF-8, then zeros.
    """

    intended: Floats
    sent_at: Floats
    counts: NDArray[np.int64]
    error: NDArray[np.uint8]

    @property
    def order(self) -> Order:
        """What the sender is to do."""
        return Order(int(self.counts[Count.ORDER]))

    def give(self, order: Order) -> None:
        """Give an order, unless one that includes it was given before."""
        self.counts[Count.ORDER] = max(order, self.order)

    @property
    def last_error(self) -> str | None:
        """The status and details of the last failure."""
        return bytes(self.error).rstrip(b"\0").decode(errors="replace") or None

    def note(self, error: str) -> None:
        """Set `last_error`."""
        text = error.encode()[: len(self.error)]
        self.error[:] = np.frombuffer(text.ljust(len(self.error), b"\0"), dtype=np.uint8)


class SharedStates:
    """The states of all senders of a run in memory that processes share; message k is sender k modulo N's.

    Attributes:
        intended: [n] of all messages.
        sent_at: [n] of all messages.
        senders: The state of each sender, views of these.
    """

    def __init__(self, memory: mmap.mmap, messages: int, senders: int) -> None:
        """Lay the arrays over memory that is as large as `size` says."""
        self.intended: Floats = np.frombuffer(memory, np.float64, messages)
        self.sent_at: Floats = np.frombuffer(memory, np.float64, messages, messages * _WORD_BYTES)
        words = len(Count)
        after = 2 * messages * _WORD_BYTES
        counts = np.frombuffer(memory, np.int64, words * senders, after).reshape(senders, words)
        after += counts.nbytes
        errors = np.frombuffer(memory, np.uint8, _ERROR_BYTES * senders, after).reshape(senders, _ERROR_BYTES)
        self.senders = [
            SenderState(self.intended[i::senders], self.sent_at[i::senders], counts[i], errors[i])
            for i in range(senders)
        ]

    @staticmethod
    def size(messages: int, senders: int) -> int:
        """Return the bytes that it takes."""
        return 2 * messages * _WORD_BYTES + senders * (len(Count) * _WORD_BYTES + _ERROR_BYTES)

    @classmethod
    def make(cls, descriptor: int, messages: int, senders: int) -> SharedStates:
        """Return fresh states, in a file of `shared_file`: nothing is due, nothing sent."""
        states = cls.map(descriptor, messages, senders)
        states.intended[:] = np.inf
        states.sent_at[:] = np.nan
        return states

    @classmethod
    def map(cls, descriptor: int, messages: int, senders: int) -> SharedStates:
        """Return the states that another process has made."""
        return cls(mmap.mmap(descriptor, cls.size(messages, senders)), messages, senders)
