"""One run: probe, schedule, stragglers, figures."""

import gc
import secrets
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import grpc
import numpy as np
from numpy.typing import NDArray

from loadtest.answers import Answers, Kind
from loadtest.auc import Scores
from loadtest.clock import Clock, epoch_clock
from loadtest.collector import Collector
from loadtest.display import Display, Progress
from loadtest.options import RunOptions
from loadtest.pubsub import Calls, connect, request_message
from loadtest.records import Records, read_records
from loadtest.schedule import send_offsets
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
    stop: threading.Event | None = None,
    clock: Clock | None = None,
) -> Summary:
    """Drives the job as `options` say, writes the three files under `options.out`, and returns the summary.

    Args:
      options: without `problems()`.
      display: shown the progress about four times a second, from this thread.
      stop: once set, nothing more is sent, stragglers get 5 s, and the summary covers what was sent.
      clock: epoch seconds; by default one that wall-clock steps do not disturb.

    Raises:
      RunError: when the probe could not be published or stayed unanswered.
      PubsubError: when there are no credentials.
    """
    display = display or Display()
    stop = stop or threading.Event()
    clock = clock or epoch_clock()
    records = read_records(options.input)
    options.out.mkdir(parents=True, exist_ok=True)
    name = secrets.token_hex(4)
    offsets = send_offsets(options.schedule, options.rate, options.warmup + options.duration, options.seed)
    # Filled in once the probe is back; no answer of a sequence arrives before that.
    intended = np.full(len(offsets), np.inf)
    subscriptions: dict[str, Kind] = {options.output_path: "result"}
    if options.dead_letter_path:
        subscriptions[options.dead_letter_path] = "dead_letter"
    scores = Scores(records)
    calls = connect()
    with Answers(name, intended, scores, options.out) as answers:
        collector = Collector(calls, subscriptions, answers, clock)
        sender = Sender(calls.publish, options.topic_path, name, records.bodies, intended, clock)
        try:
            collector.start()
            _probe(options, calls, records, name, collector, answers, display, stop, clock)
            start = clock() + LEAD_S
            intended[:] = start + offsets
            window_start = start + options.warmup
            window_end = window_start + options.duration
            with _low_jitter():
                error = _drive(options, sender, collector, answers, display, stop, clock)
            ended_at = clock()
        finally:
            sender.close()
            collector.close()
            calls.close()
    if sender.sent < len(intended):
        last = float(intended[sender.sent - 1]) if sender.sent else window_start
        window_end = min(window_end, max(window_start, last))
    area, note = scores.auc()
    summary = summarise(
        Measurement(
            run=name,
            intended=intended,
            sent_at=sender.sent_at,
            result_at=answers.result_at,
            dead_letter_at=answers.dead_letter_at,
            stages_ms=answers.stages_ms,
            warmup_messages=int(np.searchsorted(offsets, options.warmup)),
            window_start=window_start,
            window_end=window_end,
            ended_at=ended_at,
            duplicates=answers.duplicates,
            publish_errors=sender.publish_errors,
            foreign=answers.foreign,
            unreadable_results=answers.unreadable,
            unacknowledged=collector.unacknowledged,
            auc=area,
            auc_note=note,
            error=error,
            last_publish_error=sender.last_error,
        )
    )
    summary.write(options.out / "summary.json")
    return summary


def _probe(
    options: RunOptions,
    calls: Calls,
    records: Records,
    name: str,
    collector: Collector,
    answers: Answers,
    display: Display,
    stop: threading.Event,
    clock: Clock,
) -> None:
    """Sends one request that is in no count and returns when it is answered, or when `stop` is set.

    So a job that is still starting, or is not connected at all, does not pass for a slow one.
    """
    begun = clock()
    deadline = begun + options.ready_timeout
    message = request_message(records.bodies[0], f"{name}-probe", begun, begun)
    request = PublishRequest(topic=options.topic_path, messages=[message])
    while not stop.is_set():
        try:
            calls.publish(request, timeout=5.0, metadata=routing("topic", options.topic_path))
            break
        except grpc.RpcError as error:
            if error.code() not in TRANSIENT or clock() > deadline:
                raise RunError(
                    f"cannot publish to --input_topic {options.topic_path}: {explain(error)}; "
                    "check its name, that it exists, and that Pub/Sub (or PUBSUB_EMULATOR_HOST) is reachable"
                ) from error
            stop.wait(0.2)
    while not stop.is_set() and not answers.probe_answered.wait(0.05):
        display.update(
            Progress(phase="waiting for the job", elapsed=clock() - begun, total=len(answers.result_at))
        )
        if collector.error:
            raise RunError(
                f"cannot collect answers from {collector.error}; check the name and your permissions"
            )
        if clock() > deadline:
            silent = " and ".join(stream.subscription for stream in collector.streams)
            raise RunError(
                f"no answer to a first request within {options.ready_timeout:g} s: {silent} stayed silent. "
                f"Check that the job runs, that it reads {options.topic_path}, and that it writes to the "
                "topic of that subscription"
            )


def _drive(
    options: RunOptions,
    sender: Sender,
    collector: Collector,
    answers: Answers,
    display: Display,
    stop: threading.Event,
    clock: Clock,
) -> str | None:
    """Sends the schedule and waits for the answers; returns what ended it early, if anything did."""
    error = None
    if stop.is_set():
        return "interrupted before the first message was sent"
    sender.start()
    watch = _Watch(sender, answers, clock)
    deadline = np.inf
    settle_until = None
    while clock() < deadline:
        display.update(watch.progress())
        if settle_until is not None:
            if clock() >= settle_until:
                break
        elif sender.finished.is_set() and answers.answered >= sender.sent:
            settle_until = clock() + SETTLE_S
        if error is None:
            if stop.is_set():
                error = "interrupted"
            elif collector.error:
                error = f"collecting ended ({collector.error})"
            elif not sender.alive and not sender.finished.is_set():
                error = "the sending thread died (its traceback is above)"
            if error is not None:
                sender.stop()
                # Without a collector there is nothing to wait for.
                patience = 0.0 if collector.error else INTERRUPTED_DRAIN_S
                deadline = min(deadline, clock() + patience)
        if deadline == np.inf and sender.sent == watch.total:
            deadline = float(watch.last_due) + options.drain_timeout
        if error is None:
            stop.wait(UPDATE_INTERVAL_S)
        else:
            time.sleep(UPDATE_INTERVAL_S)
    display.update(watch.progress())
    # Only now is it certain how many left: the sender was in the middle of a request when it was stopped.
    return error and f"{error} after {sender.sent:,} of {watch.total:,} messages"


class _Watch:
    """Reads the counts of a run in progress."""

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
    """Lets the sender thread in sooner, and spares it long garbage collections; undone at the end."""
    interval = sys.getswitchinterval()
    gc.collect()
    gc.freeze()
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    try:
        yield
    finally:
        sys.setswitchinterval(interval)
        gc.unfreeze()
