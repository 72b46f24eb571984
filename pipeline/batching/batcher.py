"""Batches across bundles: the items of many threads meet in one call, and each thread gets its own output."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from pipeline.process.exit import ComputeThread
from pipeline.request.errors import TransientError

Item = TypeVar("Item")
Output = TypeVar("Output")

_JOIN_S = 1.0


class Batcher(Generic[Item, Output]):
    """A queue of the items that threads submit, and the worker threads that run them in batches.

    An idle worker takes all that is queued, up to `max_batch_size`. Threads that have just got their outputs
    are likely to be back in a moment: for these, and for no others, it holds a batch window of up to
    `max_wait_s` open. So a thread that is alone never waits.
    """

    def __init__(
        self,
        run: Callable[[list[Item]], Sequence[Output]],
        *,
        max_batch_size: int,
        max_wait_s: float,
        timeout_s: float,
        concurrent_batches: int = 1,
        prepare_thread: Callable[[], None] = lambda: None,
    ) -> None:
        """Start the worker threads.

        Args:
            run: Returns one output for each item, in the same order. Several threads call it where
                `concurrent_batches` is above 1.
            max_batch_size: The most that the sizes of a batch's items add up to; a larger item is run alone.
            max_wait_s: Longest batch window, from the moment that a worker is idle and an item is queued.
            timeout_s: Longest call of `run`.
            concurrent_batches: Batches that run at once, each on a worker thread.
            prepare_thread: Called first on each worker thread.
        """
        self._run = run
        self._max_batch_size = max_batch_size
        self._max_wait_s = max_wait_s
        self._timeout_s = timeout_s
        self._concurrent_batches = concurrent_batches
        self._prepare_thread = prepare_thread
        self._changed = threading.Condition()
        # All of these are guarded by it.
        self._queue: deque[_Submission[Item, Output]] = deque()
        self._queued_size = 0
        self._running: set[_Batch[Item, Output]] = set()
        self._returning = 0  # threads that got their outputs and have not submitted again yet
        self._last_batch_ended = 0.0
        self._closed = False
        self._workers: list[threading.Thread] = []
        for _ in range(concurrent_batches):
            self._start_worker()

    def submit(self, item: Item, size: int = 1) -> Output:
        """Return the output for `item`, which counts as `size` in its batch. Block until it is there.

        Raises:
            TransientError: The batch took longer than `timeout_s`, or the batcher was closed.
            Exception: Whatever `run` raised for the batch that the item was in.
        """
        submission: _Submission[Item, Output] = _Submission(item, size, time.monotonic())
        with self._changed:
            if self._closed:
                raise _closed()
            self._queue.append(submission)
            self._queued_size += size
            self._returning = max(0, self._returning - 1)
            # Not every submission wakes a worker whose batch window is open.
            if len(self._queue) == 1 or self._returning == 0 or self._queued_size >= self._max_batch_size:
                self._changed.notify()
        self._wait(submission)
        if submission.error is not None:
            raise submission.error
        return submission.output  # type: ignore[return-value]

    def close(self) -> None:
        """Fail all that is queued or running, so that no thread is left waiting.

        Later submissions fail at once.
        """
        with self._changed:
            self._closed = True
            for submission in self._queue:
                submission.fail(_closed())
            self._queue.clear()
            for batch in self._running:
                batch.abandon(_closed)
            self._running.clear()
            self._changed.notify_all()
            workers = list(self._workers)
        deadline = time.monotonic() + _JOIN_S
        for worker in workers:
            worker.join(max(0.0, deadline - time.monotonic()))

    def _wait(self, submission: _Submission[Item, Output]) -> None:
        left_s = self._timeout_s
        while not submission.done.acquire(timeout=min(left_s, threading.TIMEOUT_MAX)):
            with self._changed:
                batch = submission.batch
                if batch is None:  # still queued: a thread of the batch before it times that one out
                    continue
                left_s = batch.started + self._timeout_s - time.monotonic()
                if left_s <= 0 and batch in self._running:
                    # A call cannot be interrupted. Its worker is left to itself, and another takes its place.
                    self._running.remove(batch)
                    batch.abandon(self._timed_out)
                    self._start_worker()
                left_s = max(left_s, 0.001)

    def _start_worker(self) -> None:
        worker = ComputeThread(self._work, "batcher")
        self._workers = [worker, *(other for other in self._workers if other.is_alive())]
        worker.start()

    def _work(self) -> None:
        self._prepare_thread()
        while (batch := self._next()) is not None:
            items = [submission.item for submission in batch.submissions]
            outputs: Sequence[Output] = ()
            error: BaseException | None = None
            try:
                outputs = self._run(items)
                if len(outputs) != len(items):
                    error = RuntimeError(f"{len(outputs)} answers to {len(items)} items")
            except BaseException as raised:  # the waiting threads must learn of it, whatever it was
                error = raised
            with self._changed:
                if batch.abandoned:
                    return
                self._running.discard(batch)
                self._returning += len(batch.submissions)
                self._last_batch_ended = time.monotonic()
            batch.finish(outputs, error)
            # Otherwise this thread would keep the last batch alive while it waits for the next.
            del batch, items, outputs, error

    def _next(self) -> _Batch[Item, Output] | None:
        """Wait for the next batch and take it; return None once the batcher is closed."""
        with self._changed:
            while not self._queue or self._window_open():
                if self._closed:
                    return None
                self._changed.wait(self._window_left_s())
            if self._closed:
                return None
            # Workers share the load evenly: one that took everything would leave the others idle.
            known = (
                len(self._queue) + self._returning + sum(len(batch.submissions) for batch in self._running)
            )
            fair_share = -(-known // self._concurrent_batches)
            batch: _Batch[Item, Output] = _Batch(time.monotonic())
            size = 0
            while self._queue and len(batch.submissions) < fair_share:
                size += self._queue[0].size
                if batch.submissions and size > self._max_batch_size:
                    break
                submission = self._queue.popleft()
                self._queued_size -= submission.size
                submission.batch = batch
                batch.submissions.append(submission)
            self._running.add(batch)
            if self._queue:
                self._changed.notify()
            return batch

    def _window_open(self) -> bool:
        """Return whether the next batch still waits for threads that are likely to return."""
        if self._returning == 0 or self._queued_size >= self._max_batch_size:
            return False
        if self._window_left_s() == 0:
            self._returning = 0  # they have gone elsewhere
            return False
        return True

    def _window_left_s(self) -> float | None:
        """Return the seconds until the batch window closes; None while nothing is queued."""
        if not self._queue:
            return None
        opened = max(self._queue[0].arrived, self._last_batch_ended)
        return max(0.0, opened + self._max_wait_s - time.monotonic())

    def _timed_out(self) -> TransientError:
        return TransientError(
            f"the model took longer than {self._timeout_s:g} s for a batch (--inference_timeout_s)"
        )


class _Submission(Generic[Item, Output]):
    """An item that one thread submitted, and the latch that the thread waits at."""

    __slots__ = ("arrived", "batch", "done", "error", "item", "output", "size")

    def __init__(self, item: Item, size: int, arrived: float) -> None:
        self.item = item
        self.size = size
        self.arrived = arrived
        self.batch: _Batch[Item, Output] | None = None
        self.output: Output | None = None
        self.error: BaseException | None = None
        # A plain lock, released once: an Event costs several times as much to make and to wait for.
        self.done = threading.Lock()
        self.done.acquire()

    def succeed(self, output: Output) -> None:
        self.output = output
        self.done.release()

    def fail(self, error: BaseException) -> None:
        self.error = error
        self.done.release()


class _Batch(Generic[Item, Output]):
    """The submissions of one call of `run`."""

    def __init__(self, started: float) -> None:
        self.submissions: list[_Submission[Item, Output]] = []
        self.started = started
        self.abandoned = False

    def finish(self, outputs: Sequence[Output], error: BaseException | None) -> None:
        if error is not None:
            for submission in self.submissions:
                submission.fail(error)
            return
        for submission, output in zip(self.submissions, outputs, strict=True):
            submission.succeed(output)

    def abandon(self, make_error: Callable[[], BaseException]) -> None:
        """Fail the submissions. What the call still returns is dropped."""
        self.abandoned = True
        for submission in self.submissions:
            submission.fail(make_error())


def _closed() -> TransientError:
    return TransientError("the process is stopping")
