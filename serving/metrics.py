"""What the container counts, in memory that its processes share; `serving.exposition` writes it.

Each process has a block of doubles of its own, and each cell one thread that writes it, so no lock is needed:
a double is written whole. Whoever is asked sums up all blocks. A process that takes the place of another
takes its block over, so counters never fall.
"""

from __future__ import annotations

import mmap
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, count

from serving.errors import ERROR_STATUSES, Reason
from serving.scoreboard import shared_file

STATUSES = (200, *ERROR_STATUSES)
# --max_batch_size is at most 100,000.
ROWS = tuple(2.0**power for power in range(18))
# A small model answers a row in 20 µs; a call may wait or run for minutes.
SECONDS = (
    *(0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05),
    *(0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0),
)

_BYTES = 8  # of a cell
# A model_id is a file's name, of 255 bytes at most, and 13 more.
_ID_BYTES = 512


class _Histogram:
    """A histogram's cells: one for each bucket, one for what is above all bounds, and the sum."""

    def __init__(self, cells: Iterator[int], bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.first = next(cells)
        for _ in bounds:
            next(cells)
        self.sum = next(cells)


_cells = count()
_STATUS = {status: next(_cells) for status in STATUSES}
_REASON = {reason: next(_cells) for reason in Reason}
_BATCH_ROWS, _QUEUE_S = _Histogram(_cells, ROWS), _Histogram(_cells, SECONDS)
_COMPUTE_S = _Histogram(_cells, SECONDS)
_RESTARTS, _READY, _WAITING, _CONNECTIONS, _MODEL = (next(_cells) for _ in range(5))
_CELLS = next(_cells)
_GAUGES = (_READY, _WAITING, _CONNECTIONS, _MODEL)
# Behind the cells is room for two ids: while one is read, the next is written.
_BLOCK = _BYTES * _CELLS + 2 * _ID_BYTES


@dataclass(frozen=True)
class Distribution:
    """A histogram, summed up.

    Attributes:
        bounds: The highest value of each bucket.
        counts: How many values are at most as high as each bound; one more, for all of them.
        sum: Of the values.
    """

    bounds: Sequence[float]
    counts: list[float]
    sum: float


@dataclass(frozen=True)
class Totals:
    """The sums over all processes.

    Attributes:
        calls: Answers by HTTP status.
        failures: Calls by the reason for which they failed.
        batch_rows: Rows of each batch.
        queue_s: Seconds that each call waited until its batch was begun.
        compute_s: Seconds that the model took for each batch.
        restarts: Worker processes that ended and were replaced.
        workers_ready: Those with a model that is loaded and warm.
        waiting: Calls that wait for their turn.
        connections: Open ones.
        model_ids: Of the models that serve now, sorted.
    """

    calls: dict[int, float]
    failures: dict[Reason, float]
    batch_rows: Distribution
    queue_s: Distribution
    compute_s: Distribution
    restarts: float
    workers_ready: float
    waiting: float
    connections: float
    model_ids: list[str]


class Tally:
    """What one process counts: `batch` on its model's thread, the rest on its event loop."""

    def __init__(self, block: memoryview) -> None:
        self._cells = block[: _BYTES * _CELLS].cast("d")
        self._ids = block[_BYTES * _CELLS :]

    def answered(self, status: int, reason: Reason | None) -> None:
        """Count a call's answer; the reason is that of an error."""
        self._cells[_STATUS[status]] += 1
        if reason is not None:
            self._cells[_REASON[reason]] += 1

    def left(self) -> None:
        """Count a call whose client left before its answer."""
        self._cells[_REASON[Reason.GONE]] += 1

    def batch(self, rows: int, compute_s: float, waited_s: Sequence[float]) -> None:
        """Count a batch, with the seconds that each of its calls had waited."""
        cells = self._cells
        _add(cells, _BATCH_ROWS, rows)
        _add(cells, _COMPUTE_S, compute_s)
        first, bounds = _QUEUE_S.first, _QUEUE_S.bounds
        for each_s in waited_s:
            cells[first + bisect_left(bounds, each_s)] += 1
        cells[_QUEUE_S.sum] += sum(waited_s)

    def now(self, *, waiting: int, connections: int) -> None:
        """Set how many calls wait, and how many connections are open."""
        self._cells[_WAITING] = waiting
        self._cells[_CONNECTIONS] = connections

    def model(self, model_id: str) -> None:
        """Set the model that serves."""
        used = int(self._cells[_MODEL])
        free = 2 if used == 1 else 1
        text = model_id.encode("utf-8", "replace")[:_ID_BYTES]
        self._ids[(free - 1) * _ID_BYTES : free * _ID_BYTES] = text.ljust(_ID_BYTES, b"\0")
        self._cells[_MODEL] = free

    def restarted(self) -> None:
        """Count a worker process that has ended and is replaced."""
        self._cells[_RESTARTS] += 1

    def ready(self, workers: int) -> None:
        """Set how many workers have a model that is loaded and warm."""
        self._cells[_READY] = workers

    def ended(self) -> None:
        """Take note that the process has ended: what it told of the moment no longer holds."""
        for cell in _GAUGES:
            self._cells[cell] = 0

    def _model_id(self) -> str | None:
        used = int(self._cells[_MODEL])
        if not used:
            return None
        return (
            bytes(self._ids[(used - 1) * _ID_BYTES : used * _ID_BYTES])
            .rstrip(b"\0")
            .decode("utf-8", "replace")
        )


class Metrics:
    """The blocks of all processes: of the supervisor, and of each worker."""

    def __init__(self, fd: int) -> None:
        """Map what another process has created; `fd` may be closed afterwards."""
        memory = memoryview(mmap.mmap(fd, 0))
        blocks = [memory[start : start + _BLOCK] for start in range(0, len(memory), _BLOCK)]
        self._tallies = [Tally(block) for block in blocks]

    @classmethod
    def create(cls, workers: int) -> tuple[Metrics, int]:
        """Return new ones, all 0, and the file descriptor by which workers that inherit it map them."""
        fd = shared_file(_BLOCK * (1 + workers))
        return cls(fd), fd

    @property
    def supervisor(self) -> Tally:
        """What the supervisor counts."""
        return self._tallies[0]

    def worker(self, number: int) -> Tally:
        """Return what a worker, counted from 0, counts."""
        return self._tallies[1 + number]

    def totals(self) -> Totals:
        """Return the sums over all processes."""
        sums = [sum(each) for each in zip(*(tally._cells for tally in self._tallies), strict=True)]
        ids = {tally._model_id() for tally in self._tallies}
        return Totals(
            calls={status: sums[cell] for status, cell in _STATUS.items()},
            failures={reason: sums[cell] for reason, cell in _REASON.items()},
            batch_rows=_distribution(sums, _BATCH_ROWS),
            queue_s=_distribution(sums, _QUEUE_S),
            compute_s=_distribution(sums, _COMPUTE_S),
            restarts=sums[_RESTARTS],
            workers_ready=sums[_READY],
            waiting=sums[_WAITING],
            connections=sums[_CONNECTIONS],
            model_ids=sorted(each for each in ids if each is not None),
        )


def _add(cells: memoryview[float], histogram: _Histogram, value: float) -> None:
    cells[histogram.first + bisect_left(histogram.bounds, value)] += 1
    cells[histogram.sum] += value


def _distribution(sums: list[float], histogram: _Histogram) -> Distribution:
    buckets = sums[histogram.first : histogram.first + len(histogram.bounds) + 1]
    return Distribution(histogram.bounds, list(accumulate(buckets)), sums[histogram.sum])
