"""The senders of a run, each a process of its own, as the run sees them."""

from __future__ import annotations

import pickle
import signal
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress

from loadtest.clock import EpochClock
from loadtest.driver.pacer import Share
from loadtest.driver.sender_state import Count, Order, SharedStates, shared_file
from loadtest.driver.sending import Task
from pipeline.process.user_modules import module_command

READY_WITHIN_S = 30.0
CLOSE_WITHIN_S = 5.0
_LOOK_S = 0.005


class SendersError(Exception):
    """The senders did not start; the message says what to do."""


class Senders:
    """Processes that together publish message k at `intended[k]`; they deal the messages out in turn.

    Attributes:
        intended: [n] epoch seconds, ascending; to be filled in before `send`.
        sent_at: [n] epoch seconds at which the call that carries each message was written to the socket; NaN
            if it was not (yet).
    """

    def __init__(
        self, topic: str, run_id: str, bodies: list[bytes], clock: EpochClock, messages: int, drivers: int
    ) -> None:
        """Start the processes, which takes them half a second; they wait for `send`.

        Args:
            topic: Full name.
            run_id: Prefix of the request ids.
            bodies: Request bodies, by number and then from the start again.
            clock: The one that `intended` will be computed with.
            messages: Of the run.
            drivers: How many processes.
        """
        self._memory = shared_file(messages, drivers)
        self._states = SharedStates.make(self._memory.fileno(), messages, drivers)
        self.intended = self._states.intended
        self.sent_at = self._states.sent_at
        descriptor = self._memory.fileno()
        self._processes = []
        for first in range(drivers):
            process = subprocess.Popen(
                module_command("loadtest.driver.sending"),
                stdin=subprocess.PIPE,
                pass_fds=[descriptor],
                start_new_session=True,  # Ctrl-C is the run's to answer
            )
            self._processes.append(process)
            share = Share(topic, run_id, bodies, first, drivers)
            assert process.stdin is not None  # for mypy: it is a pipe
            try:
                pickle.dump(Task(share, clock, descriptor, messages, drivers), process.stdin)
                process.stdin.flush()
            except BrokenPipeError:
                break  # `wait_ready` says how it ended

    def wait_ready(self) -> None:
        """Return once all processes wait for `send`.

        Raises:
            SendersError: One ended, or took longer than 30 s.
        """
        deadline = time.monotonic() + READY_WITHIN_S
        while not all(state.counts[Count.READY] for state in self._states.senders):
            if self.failure:
                raise SendersError(f"{self.failure}: its traceback is above")
            if time.monotonic() > deadline:
                raise SendersError(
                    f"the sending processes did not start within {READY_WITHIN_S:g} s: close other programs"
                )
            time.sleep(_LOOK_S)

    def send(self) -> None:
        """Send each message at its time."""
        self._give(Order.SEND)

    def stop(self) -> None:
        """Send nothing new; what was handed over is still awaited and retried."""
        self._give(Order.STOP)

    def close(self) -> None:
        """End the processes, and give up what has no answer yet, which then counts as `publish_errors`."""
        self._give(Order.CLOSE)
        for process in self._processes:
            assert process.stdin is not None  # for mypy: it is a pipe
            with suppress(BrokenPipeError):  # it ended before it had read its task
                process.stdin.close()
            try:
                process.wait(CLOSE_WITHIN_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._memory.close()

    @property
    def pids(self) -> Mapping[str, int]:
        """The process ids by name: sender-1 and so on."""
        return {f"sender-{i}": process.pid for i, process in enumerate(self._processes, start=1)}

    @property
    def finished(self) -> bool:
        """Whether all is sent (or `stop` was called) and each message is published or failed."""
        return all(state.counts[Count.FINISHED] for state in self._states.senders)

    @property
    def failure(self) -> str | None:
        """How a process ended that had not finished, if one has."""
        for state, process in zip(self._states.senders, self._processes, strict=False):
            code = process.poll()
            if code is not None and not state.counts[Count.FINISHED] and state.order != Order.CLOSE:
                if code < 0:
                    return f"a sending process was killed ({signal.Signals(-code).name})"
                return f"a sending process ended by itself with exit code {code}"
        return None

    @property
    def sent(self) -> int:
        """Messages handed over so far, whatever became of them."""
        return self._total(Count.SENT)

    @property
    def published(self) -> int:
        """Messages that the broker has accepted."""
        return self._total(Count.PUBLISHED)

    @property
    def publish_calls(self) -> int:
        """Publish calls so far, those that were tried again included."""
        return self._total(Count.CALLS)

    @property
    def publish_errors(self) -> int:
        """Messages given up: a permanent error, the deadline passed, or no answer when their sender ended."""
        abandoned = 0
        for state, process in zip(self._states.senders, self._processes, strict=False):
            if process.poll() is not None:
                counts = state.counts
                abandoned += int(counts[Count.SENT] - counts[Count.PUBLISHED] - counts[Count.ERRORS])
        return self._total(Count.ERRORS) + abandoned

    @property
    def last_error(self) -> str | None:
        """The status and details of the last failure of one of them."""
        found = (state.last_error for state in self._states.senders)
        return next((error for error in found if error), None) or self.failure

    def _give(self, order: Order) -> None:
        for state in self._states.senders:
            state.give(order)

    def _total(self, count: Count) -> int:
        return sum(int(state.counts[count]) for state in self._states.senders)
