"""Batches across bundles: what many threads hand in meets in one call, and each gets its own answer back."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from pipeline.process.exit import ComputeThread
from pipeline.request.errors import TransientError

Item = TypeVar("Item")
Answer = TypeVar("Answer")

_JOIN_S = 1.0


class Batcher(Generic[Item, Answer]):
    """Runs the items that threads submit in batches, on a thread of its own for each lane.

    A free lane takes all that waits, up to `max_batch_size`. Threads that have just been answered are likely
    to be back in a moment: for these, and for no others, it waits up to `max_wait_s`. So a thread that is
    alone never waits for company.
    """

    def __init__(
        self,
        run: Callable[[list[Item]], Sequence[Answer]],
        *,
        max_batch_size: int,
        max_wait_s: float,
        timeout_s: float,
        concurrent_batches: int = 1,
        prepare_thread: Callable[[], None] = lambda: None,
    ) -> None:
        """
        Args:
            run: one answer for each item, in the same order. Several threads call it where
                `concurrent_batches` is above 1.
            max_batch_size: the most that the sizes of a batch's items add up to; a larger one is run alone.
            max_wait_s: longest wait for company, from the moment that a lane is free and an item is there.
            timeout_s: longest call of `run`.
            lanes: batches that run at once.
            prepare_thread: called first on each thread that `run` is called on.
        """
        self._run = run
        self._max_batch_size = max_batch_size
        self._max_wait_s = max_wait_s
        self._timeout_s = timeout_s
        self._concurrent_batches = concurrent_batches
        self._prepare_thread = prepare_thread
        self._changed = threading.Condition()
        # All of these are guarded by it.
        self._queue: deque[_Submission[Item, Answer]] = deque()
        self._queued_size = 0
        self._running: set[_Batch[Item, Answer]] = set()
        self._away = 0  # threads that were answered and are not back yet
        self._freed_at = 0.0
        self._closed = False
        self._threads: list[threading.Thread] = []
        for _ in range(concurrent_batches):
            self._start_lane()

    def submit(self, item: Item, size: int = 1) -> Answer:
        """The answer to `item`, which counts as `size` in its batch. Blocks until it is there.

        Raises:
            TransientError: the batch took longer than `timeout_s`, or the batcher was closed.
            Exception: whatever `run` raised for the batch that the item was in.
        """
        submission: _Submission[Item, Answer] = _Submission(item, size, time.monotonic())
        with self._changed:
            if self._closed:
                raise _closed()
            self._queue.append(submission)
            self._queued_size += size
            self._away = max(0, self._away - 1)
            # A lane that waits for company is not woken by each one who comes.
            if len(self._queue) == 1 or self._away == 0 or self._queued_size >= self._max_batch_size:
                self._changed.notify()
        self._wait(submission)
        if submission.error is not None:
            raise submission.error
        return submission.answer  # type: ignore[return-value]

    def close(self) -> None:
        """Fails all that waits or runs, so that no thread is left waiting; later submissions fail at once."""
        with self._changed:
            self._closed = True
            for submission in self._queue:
                submission.fail(_closed())
            self._queue.clear()
            for batch in self._running:
                batch.abandon(_closed)
            self._running.clear()
            self._changed.notify_all()
            threads = list(self._threads)
        deadline = time.monotonic() + _JOIN_S
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _wait(self, submission: _Submission[Item, Answer]) -> None:
        patience = self._timeout_s
        while not submission.done.acquire(timeout=min(patience, threading.TIMEOUT_MAX)):
            with self._changed:
                batch = submission.batch
                if batch is None:  # in the queue still: whoever hangs before it is told of below
                    continue
                patience = batch.started + self._timeout_s - time.monotonic()
                if patience <= 0 and batch in self._running:
                    # A call cannot be interrupted. Its thread is left to itself, and another takes its place.
                    self._running.remove(batch)
                    batch.abandon(self._too_slow)
                    self._start_lane()
                patience = max(patience, 0.001)

    def _start_lane(self) -> None:
        thread = ComputeThread(self._work, "batcher")
        self._threads = [thread, *(other for other in self._threads if other.is_alive())]
        thread.start()

    def _work(self) -> None:
        self._prepare_thread()
        while (batch := self._next()) is not None:
            items = [submission.item for submission in batch.submissions]
            answers: Sequence[Answer] = ()
            error: BaseException | None = None
            try:
                answers = self._run(items)
                if len(answers) != len(items):
                    error = RuntimeError(f"{len(answers)} answers to {len(items)} items")
            except BaseException as raised:  # a thread that waits must be told, whatever it was
                error = raised
            with self._changed:
                if batch.abandoned:
                    return
                self._running.discard(batch)
                self._away += len(batch.submissions)
                self._freed_at = time.monotonic()
            batch.finish(answers, error)
            # Else this thread would keep the last batch alive while it waits for the next.
            del batch, items, answers, error

    def _next(self) -> _Batch[Item, Answer] | None:
        """The next batch; None once there will be none."""
        with self._changed:
            while not self._queue or self._waits_for_company():
                if self._closed:
                    return None
                self._changed.wait(self._patience())
            if self._closed:
                return None
            # Several lanes share the work evenly: one that took all would leave the others without.
            known = len(self._queue) + self._away + sum(len(batch.submissions) for batch in self._running)
            share = -(-known // self._concurrent_batches)
            batch: _Batch[Item, Answer] = _Batch(time.monotonic())
            size = 0
            while self._queue and len(batch.submissions) < share:
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

    def _waits_for_company(self) -> bool:
        if self._away == 0 or self._queued_size >= self._max_batch_size:
            return False
        if self._patience() == 0:
            self._away = 0  # they have gone elsewhere
            return False
        return True

    def _patience(self) -> float | None:
        """Seconds that are left to wait for company; None with nobody there to wait."""
        if not self._queue:
            return None
        begun = max(self._queue[0].arrived, self._freed_at)
        return max(0.0, begun + self._max_wait_s - time.monotonic())

    def _too_slow(self) -> TransientError:
        return TransientError(
            f"the model took longer than {self._timeout_s:g} s for a batch (--inference_timeout_s)"
        )


class _Submission(Generic[Item, Answer]):
    """What one thread handed in, and the latch that it waits at."""

    __slots__ = ("answer", "arrived", "batch", "done", "error", "item", "size")

    def __init__(self, item: Item, size: int, arrived: float) -> None:
        self.item = item
        self.size = size
        self.arrived = arrived
        self.batch: _Batch[Item, Answer] | None = None
        self.answer: Answer | None = None
        self.error: BaseException | None = None
        # A plain lock, released once: an Event costs several times as much to make and to wait for.
        self.done = threading.Lock()
        self.done.acquire()

    def succeed(self, answer: Answer) -> None:
        self.answer = answer
        self.done.release()

    def fail(self, error: BaseException) -> None:
        self.error = error
        self.done.release()


class _Batch(Generic[Item, Answer]):
    """The submissions of one call."""

    def __init__(self, started: float) -> None:
        self.submissions: list[_Submission[Item, Answer]] = []
        self.started = started
        self.abandoned = False

    def finish(self, answers: Sequence[Answer], error: BaseException | None) -> None:
        if error is not None:
            for submission in self.submissions:
                submission.fail(error)
            return
        for submission, answer in zip(self.submissions, answers, strict=True):
            submission.succeed(answer)

    def abandon(self, make_error: Callable[[], BaseException]) -> None:
        """Fails its submissions; what the call still brings is dropped."""
        self.abandoned = True
        for submission in self.submissions:
            submission.fail(make_error())


def _closed() -> TransientError:
    return TransientError("the process is stopping")
