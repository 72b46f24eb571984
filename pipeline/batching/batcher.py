"""Batches across bundles: the items of many threads meet in one call, and each thread gets its own output."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Generic, TypeAlias

from pipeline.batching.batch_queue import BatchQueue
from pipeline.batching.submission import Batch, Item, Output, Submission
from pipeline.process.exit import ComputeThread
from pipeline.request.errors import TransientError

# Called before each call of the model: it begins the time limit again, or raises AbandonedError.
Renew: TypeAlias = Callable[[], None]

_JOIN_S = 1.0


class AbandonedError(Exception):
    """Nobody waits for a batch any more, so that computing more of it is in vain."""


class Batcher(Generic[Item, Output]):
    """A queue of the items that threads submit, and the worker threads that run them in batches.

    `BatchQueue` has the rules by which batches form.

    A call that takes longer than `timeout_s` cannot be interrupted: its batch is abandoned, and another
    worker takes the place of the one that hangs. At most `concurrent_batches` are replaced so at a time. If
    one more hangs, there is no hope left: the batcher fails what is queued, takes no more, and says so by
    `on_hopeless`. So calls at once are never more than twice `concurrent_batches`.
    """

    def __init__(
        self,
        run: Callable[[list[Item], Renew], Sequence[Output]],
        *,
        max_batch_size: int,
        max_wait_s: float,
        timeout_s: float,
        concurrent_batches: int = 1,
        prepare_thread: Callable[[], None] = lambda: None,
        warm_up: Callable[[Renew], None] = lambda _: None,
        on_hopeless: Callable[[], None] = lambda: None,
    ) -> None:
        """Start the worker threads.

        Args:
            run: Returns one output for each item, in the same order. Several threads call it where
                `concurrent_batches` is above 1. It calls its second argument before each call of the model.
            max_batch_size: The most that the sizes of a batch's items add up to; a larger item is run alone.
            max_wait_s: Longest batch window, from the moment that a worker is idle and an item is queued.
            timeout_s: Longest call of the model: from the start of `run`, or from the last time that it
                called its second argument.
            concurrent_batches: Batches that run at once, each on a worker thread.
            prepare_thread: Called first on each worker thread. It neither blocks nor raises.
            warm_up: Called next, within the same time limit as `run`, but not on a thread that replaces one
                whose call hangs: its call might hang, too. What it raises is dropped, as the first batch will
                fail in the same way.
            on_hopeless: Called once, on a thread in `submit`, when more calls hang than may be abandoned.
        """
        self._run = run
        self._timeout_s = timeout_s
        self._concurrent_batches = concurrent_batches
        self._prepare_thread = prepare_thread
        self._warm_up = warm_up
        self._on_hopeless = on_hopeless
        self._changed = threading.Condition()
        # All of these are guarded by it.
        self._queue: BatchQueue[Submission[Item, Output]] = BatchQueue(
            max_batch_size, max_wait_s, concurrent_batches
        )
        self._running: set[Batch[Item, Output]] = set()
        self._abandoned: set[Batch[Item, Output]] = set()  # timed out, and not returned yet
        self._closed: Callable[[], TransientError] | None = None  # what submissions fail with from then on
        self._workers: list[threading.Thread] = []
        for _ in range(concurrent_batches):
            self._start_worker(warm_up=True)

    def submit(self, item: Item, size: int = 1) -> Output:
        """Return the output for `item`, which counts as `size` in its batch. Block until it is there.

        Raises:
            TransientError: A call of the model took longer than `timeout_s`, or the batcher was closed.
            Exception: A copy of whatever `run` raised for the batch that the item was in, from that.
        """
        submission: Submission[Item, Output] = Submission(item, size, time.monotonic())
        with self._changed:
            if self._closed is not None:
                raise self._closed()
            if self._queue.add(submission):
                self._changed.notify()
        try:
            self._wait(submission)
            if submission.error is not None:
                raise submission.error
            return submission.output  # type: ignore[return-value]
        finally:
            # The error's traceback holds this frame. Through it, the error would hold itself and the item
            # until a garbage collection.
            del submission

    def close(self) -> None:
        """Fail all that is queued or running, so that no thread is left waiting.

        Later submissions fail at once.
        """
        with self._changed:
            self._stop(_stopping)
            for batch in self._running:
                batch.abandon(_stopping)
            self._running.clear()
            workers = list(self._workers)
        deadline = time.monotonic() + _JOIN_S
        for worker in workers:
            worker.join(max(0.0, deadline - time.monotonic()))

    def _stop(self, make_error: Callable[[], TransientError]) -> None:
        """Fail what is queued and what is submitted from now on."""
        self._closed = make_error
        for submission in self._queue.take_all():
            submission.fail(make_error())
        self._changed.notify_all()

    def _wait(self, submission: Submission[Item, Output]) -> None:
        left_s = self._timeout_s
        while not submission.done.acquire(timeout=min(left_s, threading.TIMEOUT_MAX)):
            with self._changed:
                hopeless = self._abandon_overdue()
                # A submission that is still queued looks, too: all workers may hang before one takes it.
                started = min((batch.started for batch in self._running), default=time.monotonic())
                left_s = max(started + self._timeout_s - time.monotonic(), 0.001)
            if hopeless:
                self._on_hopeless()

    def _abandon_overdue(self) -> bool:
        """Abandon what has run for too long, and return whether hope goes with it."""
        latest = time.monotonic() - self._timeout_s
        hopeless = False
        for batch in [batch for batch in self._running if batch.started <= latest]:
            self._running.remove(batch)
            self._abandoned.add(batch)
            batch.abandon(self._timed_out)
            if self._closed is not None:
                continue
            if len(self._abandoned) <= self._concurrent_batches:
                self._start_worker(warm_up=False)
            else:
                self._stop(self._timed_out)
                hopeless = True
        return hopeless

    def _start_worker(self, *, warm_up: bool) -> None:
        worker = ComputeThread(partial(self._work, warm_up), "batcher")
        self._workers = [worker, *(other for other in self._workers if other.is_alive())]
        worker.start()

    def _work(self, warm_up: bool) -> None:
        self._prepare_thread()
        if warm_up and not self._warmed_up():
            return
        while (batch := self._next()) is not None:
            items = [submission.item for submission in batch.submissions]
            outputs: Sequence[Output] = ()
            error: BaseException | None = None
            try:
                outputs = self._run(items, partial(self._renew, batch))
                if len(outputs) != len(items):
                    error = RuntimeError(f"{len(outputs)} answers to {len(items)} items")
            except BaseException as raised:  # the waiting threads must learn of it, whatever it was
                # Without this frame, which holds the error, and soon the batches after it.
                traceback = raised.__traceback__
                error = raised.with_traceback(traceback and traceback.tb_next)
                del traceback
            with self._changed:
                if not self._ended(batch):
                    return
                self._queue.answered(len(batch.submissions), time.monotonic())
            batch.finish(outputs, error)
            # Otherwise this thread would keep the last batch alive while it waits for the next.
            del batch, items, outputs, error

    def _warmed_up(self) -> bool:
        """Warm this thread up, and return whether it may go on: another one may have taken its place."""
        nobodys: Batch[Item, Output] = Batch(time.monotonic())
        with self._changed:
            self._running.add(nobodys)
        with contextlib.suppress(BaseException):
            self._warm_up(partial(self._renew, nobodys))
        with self._changed:
            return self._ended(nobodys)

    def _renew(self, batch: Batch[Item, Output]) -> None:
        with self._changed:
            if batch.abandoned:
                raise AbandonedError
            batch.started = time.monotonic()

    def _ended(self, batch: Batch[Item, Output]) -> bool:
        """Take note that a batch's call has returned, and return whether the batch was not abandoned."""
        self._running.discard(batch)
        self._abandoned.discard(batch)
        return not batch.abandoned

    def _next(self) -> Batch[Item, Output] | None:
        """Wait for the next batch and take it; return None once the batcher is closed."""
        with self._changed:
            while (left_s := self._queue.wait_s(time.monotonic())) != 0:
                if self._closed is not None:
                    return None
                self._changed.wait(left_s)
            if self._closed is not None:
                return None
            batch: Batch[Item, Output] = Batch(time.monotonic())
            batch.submissions = self._queue.take(sum(len(other.submissions) for other in self._running))
            self._running.add(batch)
            if self._queue:
                self._changed.notify()
            return batch

    def _timed_out(self) -> TransientError:
        return TransientError(
            f"the model took longer than {self._timeout_s:g} s for one call (--inference_timeout_s)"
        )


def _stopping() -> TransientError:
    return TransientError("the process is stopping")
