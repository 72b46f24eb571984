"""One run: the probe, the schedule, the stragglers, the figures."""

from __future__ import annotations

import gc
import secrets
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import grpc
import numpy as np
from numpy.typing import NDArray

from loadtest.answers import AnswerKind, Answers
from loadtest.auc import Scores, is_example
from loadtest.clock import Clock, epoch_clock
from loadtest.collector import Collector
from loadtest.display import Display, Progress
from loadtest.interrupt import Stop
from loadtest.options import RunOptions
from loadtest.pubsub import Calls, connect, request_message
from loadtest.records import Records
from loadtest.run_folder import SUMMARY, Staging, make_private
from loadtest.sender import Sender
from loadtest.summary import Measurement, Summary, summarise
from pipeline.pubsub.calls import routing
from pipeline.pubsub.codes import TRANSIENT, explain
from pipeline.pubsub.protos import PublishRequest

LEAD_S = 0.1  # between the probe's answer and the first message due, for the threads to start
UPDATE_INTERVAL_S = 0.25
SETTLE_S = 0.3  # after the last answer, for duplicates of it
INTERRUPTED_DRAIN_S = 5.0  # how long stragglers are waited for after an interrupt
RECENT = 10_000  # requests whose median latency is shown live
SWITCH_INTERVAL_S = 0.0005


class RunError(Exception):
    """The run could not begin; the message says what to check."""


def run(
    options: RunOptions,
    *,
    display: Display | None = None,
    stop: Stop | None = None,
    clock: Clock | None = None,
) -> Summary:
    """Drive the job as `options` say, write the three files under `options.out`, and return the summary.

    What an earlier run left there is replaced once the probe is answered; a run that ends before leaves it.

    Args:
        options: Without `problems()`.
        display: Shown the progress about four times a second, from this thread.
        stop: Once set, nothing more is sent, stragglers get 5 s, and the summary covers what was sent and has
            the reason.
        clock: Epoch seconds; by default one that wall-clock steps do not disturb.

    Raises:
        RunError: The probe could not be published, or stayed unanswered.
        PubsubError: There are no credentials.
        FolderError: `options.out` cannot be made.
    """
    clock = clock or epoch_clock()
    records = options.input if options.payload_seed is None else options.input.shuffled(options.payload_seed)
    make_private(options.out)
    run_id = secrets.token_hex(4)
    offsets = options.arrivals.offsets()
    # Filled in once the probe is back; no answer of a sequence arrives before that.
    intended = np.full(len(offsets), np.inf)
    scores = Scores(records)
    calls = connect()
    with (
        Staging(options.out, run_id) as staging,
        Answers(run_id, intended, scores, staging.path) as answers,
    ):
        this = Run(
            run_id=run_id,
            options=options,
            records=records,
            offsets=offsets,
            scores=scores,
            calls=calls,
            answers=answers,
            collector=Collector(calls, _subscriptions(options), answers, clock),
            sender=Sender(calls.publish, options.topic_path, run_id, records.bodies, intended, clock),
            display=display or Display(),
            stop=stop or Stop(),
            clock=clock,
        )
        try:
            this.collector.start()
            this.probe()
            if answers.probe_answered.is_set():
                staging.begin()
            start = clock() + LEAD_S
            intended[:] = start + offsets
            with _low_jitter():
                error = this.drive()
            ended_at = clock()
        finally:
            this.close()
    summary = summarise(this.measurement(start, ended_at, error))
    if staging.begun:
        summary.write(options.out / SUMMARY)
    return summary


def _subscriptions(options: RunOptions) -> dict[str, AnswerKind]:
    subscriptions: dict[str, AnswerKind] = {options.output_path: "result"}
    if options.dead_letter_path:
        subscriptions[options.dead_letter_path] = "dead_letter"
    return subscriptions


@dataclass(frozen=True)
class Run:
    """A run in progress: who sends, who collects, and what the phases have in common.

    Attributes:
        run_id: Prefix of the request ids.
        options: Of the run.
        records: What is sent, over and over; the first is the probe, too, which is in no count.
        offsets: [n] when each message is due, in seconds after the start.
        scores: What the answers predict.
        calls: Pub/Sub.
        answers: What has come back.
        collector: Feeds `answers`.
        sender: Of the schedule.
        display: Shown the progress.
        stop: Set to end the run early.
        clock: Epoch seconds.
    """

    run_id: str
    options: RunOptions
    records: Records
    offsets: NDArray[np.float64]
    scores: Scores
    calls: Calls
    answers: Answers
    collector: Collector
    sender: Sender
    display: Display
    stop: Stop
    clock: Clock

    def probe(self) -> None:
        """Send one request that is in no count, and return when it is answered, or when `stop` is set.

        So a job that is still starting, or is not connected at all, is not taken for a slow one.

        Raises:
            RunError: It could not be published, or stayed unanswered.
        """
        begun = self.clock()
        deadline = begun + self.options.ready_timeout
        self._publish_probe(begun, deadline)
        while not self.stop.is_set() and not self.answers.probe_answered.wait(0.05):
            self.display.update(
                Progress(
                    phase="waiting for the job",
                    elapsed=self.clock() - begun,
                    total=len(self.answers.intended),
                )
            )
            if self.collector.error:
                raise RunError(
                    f"cannot collect answers from {self.collector.error}; check the name and your permissions"
                )
            if self.clock() > deadline:
                silent = " and ".join(stream.subscription for stream in self.collector.streams)
                raise RunError(
                    f"no answer to a first request within {self.options.ready_timeout:g} s: {silent} stayed "
                    f"silent. Check that the job runs, that it reads {self.options.topic_path}, and that it "
                    "writes to the topic of that subscription"
                )

    def _publish_probe(self, now: float, deadline: float) -> None:
        topic = self.options.topic_path
        message = request_message(self.records.bodies[0], f"{self.run_id}-probe", now, now)
        request = PublishRequest(topic=topic, messages=[message])
        while not self.stop.is_set():
            try:
                self.calls.publish(request, timeout=5.0, metadata=routing("topic", topic))
                return
            except grpc.RpcError as error:
                if error.code() not in TRANSIENT or self.clock() > deadline:
                    raise RunError(
                        f"cannot publish to --input_topic {topic}: {explain(error)}; check its name, that it "
                        "exists, and that Pub/Sub (or PUBSUB_EMULATOR_HOST) is reachable"
                    ) from error
                self.stop.wait(0.2)

    def drive(self) -> str | None:
        """Send the schedule and wait for the answers; return what ended it early, if anything did."""
        if self.stop.is_set():
            return f"{self.stop.reason} before the first message was sent"
        self.sender.start()
        watch = _Watch(self.sender, self.answers, self.clock)
        error = None
        deadline = np.inf
        settle_until = None
        while self.clock() < deadline:
            self.display.update(watch.progress())
            if settle_until is not None:
                if self.clock() >= settle_until:
                    break
            elif self.sender.finished.is_set() and self.answers.answered >= self.sender.sent:
                settle_until = self.clock() + SETTLE_S
            if error is None:
                error = self._why_to_end()
                if error is not None:
                    self.sender.stop()
                    # Without a collector there is nothing to wait for.
                    drain_s = 0.0 if self.collector.error else INTERRUPTED_DRAIN_S
                    deadline = min(deadline, self.clock() + drain_s)
            if deadline == np.inf and self.sender.sent == watch.total:
                deadline = float(watch.last_due) + self.options.drain_timeout
            if error is None:
                self.stop.wait(UPDATE_INTERVAL_S)
            else:
                time.sleep(UPDATE_INTERVAL_S)
        self.display.update(watch.progress())
        # Only now is it certain how many left: the sender was in the middle of a request when it was stopped.
        return error and f"{error} after {self.sender.sent:,} of {watch.total:,} messages"

    def _why_to_end(self) -> str | None:
        if self.stop.is_set():
            return self.stop.reason
        if self.collector.error:
            return f"collecting ended ({self.collector.error})"
        if not self.sender.alive and not self.sender.finished.is_set():
            return "the sending thread died (its traceback is above)"
        return None

    def measurement(self, start: float, ended_at: float, error: str | None) -> Measurement:
        """Return what a run that has ended has recorded.

        Args:
            start: When the schedule began, in epoch seconds.
            ended_at: When `drive` returned.
            error: What it returned.
        """
        auc, auc_note = self.scores.auc(self.sender.sent) if is_example(self.options.input) else (None, None)
        window_start = start + self.options.warmup
        return Measurement(
            run=self.run_id,
            intended=self.answers.intended,
            sent_at=self.sender.sent_at,
            result_at=self.answers.result_at,
            dead_letter_at=self.answers.dead_letter_at,
            stages_ms=self.answers.stages_ms,
            warmup_messages=int(np.searchsorted(self.offsets, self.options.warmup)),
            window_start=window_start,
            window_end=self._window_end(window_start),
            ended_at=ended_at,
            duplicates=self.answers.duplicates,
            publish_errors=self.sender.publish_errors,
            foreign=self.answers.foreign,
            unreadable_results=self.answers.unreadable,
            unacknowledged=self.collector.unacknowledged,
            dead_letter_reasons=self.answers.reasons.commonest(),
            auc=auc,
            auc_note=auc_note,
            error=error,
            last_publish_error=self.sender.last_error,
        )

    def _window_end(self, window_start: float) -> float:
        """Return when the measured window ended: as scheduled, or when the last message sent was due."""
        scheduled = window_start + self.options.duration
        sent, intended = self.sender.sent, self.answers.intended
        if sent == len(intended):
            return scheduled
        last = float(intended[sent - 1]) if sent else window_start
        return min(scheduled, max(window_start, last))

    def close(self) -> None:
        """End the threads and the connections."""
        self.sender.close()
        self.collector.close()
        self.calls.close()


class _Watch:
    """The counts of a run whose schedule is being sent."""

    def __init__(self, sender: Sender, answers: Answers, clock: Clock) -> None:
        self._sender = sender
        self._answers = answers
        self._clock = clock
        self._intended: NDArray[np.float64] = answers.intended
        self.total = len(self._intended)
        self.last_due = self._intended[-1] if self.total else clock()
        self._begun = clock()
        self._before = (self._begun, 0)
        self._rate = 0.0

    def progress(self) -> Progress:
        now, answered, sent = self._clock(), self._answers.answered, self._sender.sent
        elapsed = now - self._before[0]
        if elapsed >= 1.0:
            self._rate = (answered - self._before[1]) / elapsed
            self._before = (now, answered)
        recent = slice(max(0, sent - RECENT), sent)
        first = np.fmin(self._answers.result_at[recent], self._answers.dead_letter_at[recent])
        latency = (first - self._intended[recent])[~np.isnan(first)]
        return Progress(
            phase="draining" if sent == self.total else "sending",
            elapsed=now - self._begun,
            total=self.total,
            sent=sent,
            received=self._answers.received,
            dead_lettered=self._answers.dead_lettered,
            duplicates=self._answers.duplicates,
            outstanding=max(0, sent - answered),
            rate=self._rate,
            p50_ms=float(np.median(latency)) * 1e3 if len(latency) else None,
        )


@contextmanager
def _low_jitter() -> Iterator[None]:
    """Let the sender thread in sooner, and spare it long garbage collections; undone at the end."""
    interval = sys.getswitchinterval()
    gc.collect()
    gc.freeze()
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    try:
        yield
    finally:
        sys.setswitchinterval(interval)
        gc.unfreeze()
