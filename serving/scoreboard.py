"""The scoreboard: what the container's processes let each other know, in memory that they share."""

from __future__ import annotations

import mmap
import os
import tempfile
from enum import IntEnum

_CELL = 4  # bytes; the first cell holds the state, the others a counter each, three for each worker
_COUNTERS = 3
_CLOSED, _BEATS, _CALLS = range(_COUNTERS)
_MODULUS = 1 << (8 * _CELL)


class State(IntEnum):
    """The state of the container as a whole.

    Attributes:
        LOADING: Not every worker has loaded and warmed the model once, or none is left that has.
        READY: Every worker has, and at least one still serves.
        DRAINING: The container was asked to end.
    """

    LOADING = 0
    READY = 1
    DRAINING = 2


_STATES = tuple(State)


class Scoreboard:
    """The container's state, written by the supervisor; and what each worker counts.

    Every cell has one writer, and cells are whole words of memory, so no lock is needed. It is memory rather
    than messages, so that health changes in all workers at once, also in those that are busy, and that a
    worker which hangs can be told from one that is busy.
    """

    def __init__(self, fd: int) -> None:
        """Map the board that another process has created; `fd` may be closed afterwards."""
        self._memory = mmap.mmap(fd, 0)

    @classmethod
    def create(cls, workers: int) -> tuple[Scoreboard, int]:
        """Return a new board, and the file descriptor by which workers that inherit it map it."""
        fd = shared_file(_CELL * (1 + _COUNTERS * workers))
        return cls(fd), fd

    @property
    def state(self) -> State:
        """The state of the container."""
        # The lowest byte says it all. Each answer asks: in 0.1 µs, by State(…) in 0.6.
        return _STATES[self._memory[0]]

    @state.setter
    def state(self, state: State) -> None:
        self._write(0, state)

    def count_closed(self, worker: int) -> None:
        """Count one more connection that a worker, counted from 0, has closed."""
        self._count(worker, _CLOSED)

    def open_connections(self, worker: int, handed: int) -> int:
        """Return how many connections a worker still has, of those `handed` to it since the last reset."""
        return (handed - self._counter(worker, _CLOSED)) % _MODULUS

    def beat(self, worker: int) -> None:
        """Give a heartbeat, from the event loop of a worker."""
        self._count(worker, _BEATS)

    def beats(self, worker: int) -> int:
        """Return how many heartbeats a worker has given, modulo 2^32."""
        return self._counter(worker, _BEATS)

    def count_call(self, worker: int) -> None:
        """Count the beginning, or the end, of a call of a worker's model."""
        self._count(worker, _CALLS)

    def calls(self, worker: int) -> int:
        """Return how often a call has begun or ended, modulo 2^32; odd while one runs."""
        return self._counter(worker, _CALLS)

    def reset(self, worker: int) -> None:
        """Set the counters of a worker to 0, for a new process in its place."""
        for counter in range(_COUNTERS):
            self._write(1 + _COUNTERS * worker + counter, 0)

    def _counter(self, worker: int, counter: int) -> int:
        return self._read(1 + _COUNTERS * worker + counter)

    def _count(self, worker: int, counter: int) -> None:
        cell = 1 + _COUNTERS * worker + counter
        self._write(cell, (self._read(cell) + 1) % _MODULUS)

    def _read(self, cell: int) -> int:
        return int.from_bytes(self._memory[_CELL * cell : _CELL * (cell + 1)], "little")

    def _write(self, cell: int, value: int) -> None:
        self._memory[_CELL * cell : _CELL * (cell + 1)] = value.to_bytes(_CELL, "little")


def shared_file(size: int) -> int:
    """Return the file descriptor of a file without a name, of so many bytes, all 0, for processes to map."""
    if hasattr(os, "memfd_create"):
        # No disk: the first write to a page that was written back waits for the file system.
        fd = os.memfd_create("serving")
    else:
        with tempfile.TemporaryFile() as file:
            fd = os.dup(file.fileno())
    os.ftruncate(fd, size)
    return fd
