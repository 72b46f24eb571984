"""The calls that wait for the model, and the thread that answers them in batches."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from typing import Protocol, TypeAlias, TypeVar

from pipeline.batching.batch_queue import BatchQueue
from serving.errors import DeviceLost, Reason, Refusal
from serving.exchange import Answer
from serving.model_call import ModelCall

_LOGGER = logging.getLogger(__name__)

# Between two looks at what takes too long.
_LEAST_LOOK_S = 0.01

_T = TypeVar("_T")

Answered: TypeAlias = list[tuple[ModelCall, Answer]]


class AbandonedError(Exception):
    """Nobody waits for these calls any more."""


class Answering(Protocol):
    """What computes."""

    def answer(
        self, calls: list[ModelCall], renew: Callable[[], None], deliver: Callable[[Answered], None]
    ) -> None:
        """Answer calls, in one pass of the model or several.

        Args:
            calls: One at least.
            renew: To be called before each call of the model; what it raises ends the batch.
            deliver: To be called once for every pass, with the calls that it answers.

        Raises:
            DeviceLost: The device can compute nothing more. What was not delivered gets this error.
        """


class CallBatcher:
    """A queue of calls, and the thread that loads the model and calls it.

    `BatchQueue` has the rules by which batches form. The event loop is woken once for each pass of the model,
    however many calls it answers.

    A pass that hangs cannot be ended, and a lost device never comes back in the same process. After either,
    no further call is made, all that wait are refused with 503, and the process is to end.
    """

    def __init__(
        self,
        queue: BatchQueue[ModelCall],
        *,
        max_queue_size: int,
        timeout_s: float,
        count: Callable[[], None],
        on_lost: Callable[[str, bool], None],
    ) -> None:
        """Start the thread, which waits for `load`. To be called on the event loop.

        Args:
            queue: Empty; it is this object's own from now on.
            max_queue_size: Calls that wait at most; further ones are refused.
            timeout_s: Most seconds of one pass of the model, and most seconds that a call waits for its turn.
            count: Called at the beginning and at the end of each batch, on the thread.
            on_lost: Called once when the process is to end, with the reason, and whether it is the device.
        """
        self._queue = queue
        self._max_queue_size = max_queue_size
        self._timeout_s = timeout_s
        self._count = count
        self._on_lost = on_lost
        self._loop = asyncio.get_running_loop()
        self._look_at: asyncio.TimerHandle | None = None
        self._changed = threading.Condition()
        # All of these are guarded by it.
        self._answering: Answering | None = None
        self._running: list[ModelCall] = []
        self._pass_began = 0.0
        self._lost: str | None = None
        self._closed = False

    async def load(self, load: Callable[[], Answering | None]) -> Answering | None:
        """Run `load` on the thread that will call the model, without a time limit, and return its result.

        Calls are answered from then on, if it returned something to answer them with.
        """
        loaded: asyncio.Future[Answering | None] = self._loop.create_future()
        # A daemon: a load or a pass that hangs must not keep the process from ending.
        threading.Thread(target=self._work, args=(load, loaded), name="model", daemon=True).start()
        return await loaded

    def submit(self, call: ModelCall) -> None:
        """Queue a call, on the event loop. It gets its answer there, too.

        Raises:
            Refusal: 503, too many calls wait, or the process is to end.
        """
        with self._changed:
            if self._lost is not None:
                raise _replaced(self._lost)
            if len(self._queue) >= self._max_queue_size:
                full = f"{self._max_queue_size} calls wait already (--max_queue_size)"
                raise Refusal(503, full, reason=Reason.QUEUE_FULL)
            if self._queue.add(call):
                self._changed.notify()
        if self._look_at is None:
            self._look_at = self._loop.call_later(self._timeout_s, self._look)

    @property
    def waiting(self) -> int:
        """How many calls wait for their turn."""
        with self._changed:
            return len(self._queue)

    def replace(self, answering: Answering) -> None:
        """Answer by another object from the next batch on."""
        with self._changed:
            self._answering = answering

    def close(self) -> None:
        """End the thread once its batch has ended; what it answers by then is dropped."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def _work(self, load: Callable[[], Answering | None], loaded: asyncio.Future[Answering | None]) -> None:
        try:
            answering = load()
        except BaseException as error:  # whoever waits must learn of it, whatever it was
            self._post(loaded.set_exception, error)
            return
        if answering is not None:
            self.replace(answering)
        self._post(loaded.set_result, answering)
        while (batch := self._next()) is not None:
            calls, answering = batch
            self._count()
            lost = self._run(answering, calls)
            self._count()
            with self._changed:
                self._running = []
            if lost is not None:
                self._post(self._lose, lost)
                return
            # Else this thread would hold the last batch while it waits for the next.
            del batch, calls, answering, lost

    def _next(self) -> tuple[list[ModelCall], Answering] | None:
        """Wait for the next batch and take it, with what answers it; None once there is no further one."""
        with self._changed:
            while (left_s := self._queue.wait_s(time.monotonic())) != 0 or self._answering is None:
                if self._closed or self._lost is not None:
                    return None
                self._changed.wait(left_s)
            self._running = self._queue.take()
            self._pass_began = time.monotonic()
            return self._running, self._answering

    def _run(self, answering: Answering, calls: list[ModelCall]) -> DeviceLost | None:
        """Answer a batch, and return the error after which no other can be."""
        left = dict.fromkeys(calls)

        def deliver(answered: Answered) -> None:
            for call, _ in answered:
                left.pop(call, None)
            with self._changed:
                self._queue.answered(len(answered), time.monotonic())
            self._post(_deliver, answered)

        try:
            answering.answer(calls, self._renew, deliver)
        except AbandonedError:
            pass  # they have been answered
        except DeviceLost as error:
            deliver([(call, Answer.of(error)) for call in left])
            return error
        except BaseException as error:
            # A defect of this program: these calls fail, and the next ones have their chance.
            _LOGGER.exception("the batch of %d calls failed", len(calls))
            failed = Refusal(500, f"the server failed ({type(error).__name__}); its log says more")
            deliver([(call, Answer.of(failed)) for call in left])
        return None

    def _post(self, function: Callable[[_T], None], argument: _T) -> None:
        """Call a function on the event loop, unless that has ended."""
        with self._changed:
            if not self._closed:
                self._loop.call_soon_threadsafe(function, argument)

    def _renew(self) -> None:
        with self._changed:
            if self._lost is not None:
                raise AbandonedError
            self._pass_began = time.monotonic()

    def _look(self) -> None:
        """See whether a pass, or a call's turn, takes too long; and when to look again."""
        self._look_at = None
        now = time.monotonic()
        overdue: list[ModelCall] = []
        with self._changed:
            running = bool(self._running)
            hangs = running and now - self._pass_began >= self._timeout_s
            if not hangs:
                overdue = self._queue.take_until(now - self._timeout_s)
            oldest = min((call.arrived for call in self._queue), default=now)
            next_s = min(oldest, self._pass_began if running else oldest) + self._timeout_s - now
            goes_on = running or len(self._queue) > 0
        if hangs:
            text = f"a call of the model took more than {self._timeout_s:g} s (--predict_timeout_s)"
            self._lose(Refusal(503, text, reason=Reason.TIMEOUT))
            return
        text = f"the calls before this one took more than {self._timeout_s:g} s"
        late = Answer.of(Refusal(503, text, reason=Reason.TIMEOUT))
        for call in overdue:
            call.finish(late)
        if goes_on:
            self._look_at = self._loop.call_later(max(next_s, _LEAST_LOOK_S), self._look)

    def _lose(self, refusal: Refusal) -> None:
        reason = str(refusal)
        with self._changed:
            if self._lost is not None:
                return
            self._lost = reason
            running, waiting = self._running, self._queue.take_all()
        for call in running:
            call.finish(Answer.of(refusal))
        for call in waiting:
            call.finish(Answer.of(_replaced(reason)))
        self._on_lost(reason, isinstance(refusal, DeviceLost))


def _deliver(answered: Answered) -> None:
    for call, answer in answered:
        call.finish(answer)


def _replaced(reason: str) -> Refusal:
    return Refusal(503, f"this process is being replaced: {reason}")
