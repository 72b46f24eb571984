"""Sends calls: by a schedule that waits for no answer (open loop), or each after the last (closed loop)."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence

from loadtest.endpoint.bodies import Body
from loadtest.endpoint.caller import Caller
from loadtest.endpoint.calls import UNSENT, Calls, Recorder
from loadtest.interrupt import Stop
from loadtest.raw_log import Floats

# Between the start of a load and its first call, for the loop to come to rest.
LEAD_S = 0.05
# How often a stop is looked for, and progress is shown.
POLL_S = 0.25
# A refused caller of a closed loop waits before its next call, as whoever obeys a refusal does.
REFUSED_PAUSE_S = 0.1
# Of a closed loop: more than one core can make (2,000 to 5,000 calls a second).
_MOST_A_SECOND = 20_000

Watch = Callable[[int, Recorder], object]
"""Shown how many calls were due so far, and what became of them."""


def unwatched(due: int, recorder: Recorder) -> None:
    """Show nothing."""


class OpenLoop:
    """One schedule's calls, each begun when it is due, over at most so many connections.

    A call that finds all connections busy waits for one, in the order that calls were due; so it neither
    delays the schedule nor is it lost from the latencies.
    """

    def __init__(self, caller: Caller, bodies: Sequence[Body], offsets: Floats, connections: int) -> None:
        self._caller = caller
        self._bodies = bodies
        self._offsets = offsets
        self._connections = connections
        self._clock = caller.clock
        self._recorder = Recorder(len(offsets), bodies[0].rows)
        self._queue: deque[tuple[int, float]] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        # Not the number of tasks: one that has ended is among them for a moment, and looks at no queue.
        self._busy = 0
        self._error: BaseException | None = None

    async def run(
        self,
        *,
        duration: float,
        warmup: float,
        deadline_s: float,
        drain_s: float,
        stop: Stop,
        watch: Watch = unwatched,
    ) -> Calls:
        """Send all and wait for the answers.

        Args:
            duration: Seconds that the schedule covers, warm-up included.
            warmup: Seconds at its start that are in no figure.
            deadline_s: See `Calls`; a call that found no connection for so long is given up unsent.
            drain_s: Seconds after the schedule's end until calls in flight are given up.
            stop: Once set, nothing more is sent, and calls in flight get 5 s at most.
            watch: Called four times a second.
        """
        self._deadline_s = deadline_s
        cpu = time.process_time()
        start = self._clock() + LEAD_S
        recorder = self._recorder
        recorder.intended[:] = start + self._offsets
        due = 0
        shown = start
        for number, at in enumerate(recorder.intended.tolist()):
            while (left := at - self._clock()) > 0 and not stop.is_set():
                await asyncio.sleep(min(left, POLL_S))
            if stop.is_set():
                break
            self._begin(number)
            due = number + 1
            if self._clock() - shown >= POLL_S:
                shown = self._clock()
                watch(due, recorder)
            # Also where the next one is due already: the loop must come to read answers.
            await asyncio.sleep(0)
        stopped = stop.is_set()
        end = self._clock() + min(drain_s, 5.0) if stopped else start + duration + drain_s
        while self._tasks and self._clock() < end:
            await asyncio.wait(self._tasks, timeout=min(POLL_S, max(0.0, end - self._clock())))
            watch(due, recorder)
            if stop.is_set() and not stopped:
                stopped, end = True, min(end, self._clock() + 5.0)
        ended = self._clock()
        await self._give_up()
        if self._error is not None:  # of this program: what an endpoint does is in the answers
            raise self._error
        return recorder.calls(
            due,
            start=start,
            warmup=warmup,
            duration=min(duration, max(0.0, ended - start)) if stopped else duration,
            ended=ended,
            deadline_s=deadline_s,
            connections=self._connections,
            cpu_s=time.process_time() - cpu,
            partial=f"{stop.reason} after {due:,} of {len(self._offsets):,} calls" if stopped else "",
        )

    def _begin(self, number: int) -> None:
        if self._busy < self._connections:
            self._busy += 1
            task = asyncio.create_task(self._work(number))
            self._tasks.add(task)
            task.add_done_callback(self._done)
        else:
            self._queue.append((number, self._clock()))

    async def _work(self, number: int) -> None:
        """Make a call, and then those that wait for a connection."""
        bodies = self._bodies
        while True:
            self._recorder.put(number, await self._caller.call(bodies[number % len(bodies)]))
            while self._queue:
                number, since = self._queue.popleft()
                now = self._clock()
                self._recorder.waited_s[number] = now - since
                if now - since < self._deadline_s:
                    break
                self._recorder.ended_at[number] = now
                self._recorder.fail(number, UNSENT, f"no connection was free for {self._deadline_s:g} s")
            else:
                self._busy -= 1
                return

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            self._error = self._error or task.exception()

    async def _give_up(self) -> None:
        now = self._clock()
        for number, since in self._queue:
            self._recorder.waited_s[number] = now - since
            self._recorder.fail(number, UNSENT, "no connection was free until the load had ended")
        self._queue.clear()
        if not self._tasks:
            return
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        # What a server still computes must not meet the next load on the same connections.
        await self._caller.forget_connections()


async def closed_loop(
    caller: Caller,
    bodies: Sequence[Body],
    *,
    callers: int,
    seconds: float,
    least: int = 0,
    stop: Stop,
    fresh: bool = False,
) -> Calls:
    """Have each of so many callers make one call after the other. It says what is possible, not what waits.

    Args:
        caller: Of the endpoint.
        bodies: Taken in turn.
        callers: At once, each on a connection of its own.
        seconds: How long calls are begun; until there are `least`, up to ten times as long.
        least: Calls.
        stop: Once set, no call is begun.
        fresh: Whether each call opens a connection.
    """
    clock = caller.clock
    capacity = int(10 * seconds * _MOST_A_SECOND) + callers
    recorder = Recorder(min(capacity, 200_000), bodies[0].rows)
    cpu = time.process_time()
    start = clock()
    count = 0

    async def work() -> None:
        nonlocal count
        while not stop.is_set() and count < len(recorder.intended):
            now = clock()
            if now - start >= (seconds if count >= least else 10 * seconds):
                return
            number, count = count, count + 1
            recorder.intended[number] = now
            answer = await caller.call(bodies[number % len(bodies)], fresh=fresh)
            recorder.put(number, answer)
            if answer.failure:
                await asyncio.sleep(min(1.0, max(answer.retry_after_s, REFUSED_PAUSE_S)))

    await asyncio.gather(*(work() for _ in range(callers)))
    ended = clock()
    return recorder.calls(
        count,
        start=start,
        warmup=0.0,
        duration=ended - start,
        ended=ended,
        deadline_s=caller.target.timeout_s,
        connections=callers,
        cpu_s=time.process_time() - cpu,
    )
