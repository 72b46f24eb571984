"""One run: the probe, the schedule, the stragglers, the figures."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from loadtest.auc import Scores, is_example
from loadtest.clock import EpochClock, epoch_clock
from loadtest.display import Display
from loadtest.driver.answers import AnswerKind, Answers
from loadtest.driver.collector import Collector
from loadtest.driver.errors import RunError
from loadtest.driver.probe import Probe
from loadtest.driver.pubsub import Calls, connect
from loadtest.driver.senders import Senders, SendersError
from loadtest.driver.system import System
from loadtest.driver.watch import Watch
from loadtest.interrupt import Stop
from loadtest.metrics.processes import Processes
from loadtest.metrics.sampler import Sampler
from loadtest.options import RunOptions
from loadtest.raw_log import Messages, RawLog, RunFacts
from loadtest.records import Records
from loadtest.run_folder import SUMMARY, Staging, make_private
from loadtest.summary import Measurement, Summary, summarise
from loadtest.versions import versions
from pipeline.options.workers import cores

LEAD_S = 0.1  # from the start to the first message due, for the senders to see the order
UPDATE_INTERVAL_S = 0.25
SETTLE_S = 0.3  # after the last answer, for duplicates of it
INTERRUPTED_DRAIN_S = 5.0  # how long stragglers are waited for after an interrupt


def run(
    options: RunOptions,
    *,
    system: System | None = None,
    display: Display | None = None,
    stop: Stop | None = None,
    clock: EpochClock | None = None,
) -> Summary:
    """Drive the job as `options` say, write the run's files under `options.out`, and return the summary.

    What an earlier run left there is replaced once the probe is answered; a run that ends before leaves it.

    Args:
        options: Without `problems()`.
        system: What the raw log says of the system, and whose processes it samples; by default nothing.
        display: Shown the progress about four times a second, from this thread.
        stop: Once set, nothing more is sent, stragglers get 5 s, and summary and raw log cover what was sent
            and have the reason.
        clock: By default one that wall-clock steps do not disturb.

    Raises:
        RunError: The probe could not be published, or stayed unanswered, or no sender could be started.
        PubsubError: There are no credentials.
        FolderError: `options.out` cannot be made.
    """
    clock = clock or epoch_clock()
    system = system or System()
    records = options.input if options.payload_seed is None else options.input.shuffled(options.payload_seed)
    make_private(options.out)
    run_id = secrets.token_hex(4)
    offsets = options.arrivals.offsets()
    scores = Scores(records)
    calls = connect()
    with (
        closing(
            Senders(options.topic_path, run_id, records.bodies, clock, len(offsets), options.drivers)
        ) as senders,
        Staging(options.out, run_id) as staging,
        # Its times are filled in once the probe is back; no answer of a sequence arrives before that.
        Answers(run_id, senders.intended, scores, staging.path) as answers,
        system.sources() as sources,
    ):
        processes = Processes(lambda: {"driver": os.getpid(), **senders.pids, **system.pids()})
        this = Run(
            run_id=run_id,
            options=options,
            system=system,
            records=records,
            offsets=offsets,
            scores=scores,
            calls=calls,
            answers=answers,
            collector=Collector(calls, _subscriptions(options), answers, clock),
            senders=senders,
            # On a thread of their own: a source that does not answer must not hold up the processes.
            samplers=[Sampler(each, clock) for each in ([processes], sources) if each],
            display=display or Display(),
            stop=stop or Stop(),
            clock=clock,
        )
        try:
            this.collector.start()
            with ExitStack() as sampling:
                for sampler in this.samplers:
                    sampling.enter_context(sampler)
                this.probe()
                if answers.probe_answered.is_set():
                    staging.begin()
                this.wait_for_senders()
                start = clock() + LEAD_S
                senders.intended[:] = start + offsets
                error = this.drive()
                ended_at = clock()
        finally:
            this.close()
    summary = summarise(this.measurement(start, ended_at, error))
    if staging.begun:
        this.raw_log(start, ended_at, error).write(options.out)
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
        system: That it loads.
        records: What is sent, over and over; the first is the probe, too, which is in no count.
        offsets: [n] when each message is due, in seconds after the start.
        scores: What the answers predict.
        calls: Pub/Sub.
        answers: What has come back.
        collector: Feeds `answers`.
        senders: Of the schedule.
        samplers: Of what processes use, and of the system's other sources.
        display: Shown the progress.
        stop: Set to end the run early.
        clock: Epoch seconds.
    """

    run_id: str
    options: RunOptions
    system: System
    records: Records
    offsets: NDArray[np.float64]
    scores: Scores
    calls: Calls
    answers: Answers
    collector: Collector
    senders: Senders
    samplers: Sequence[Sampler]
    display: Display
    stop: Stop
    clock: EpochClock

    def probe(self) -> None:
        """Send one request that is in no count, and return when it is answered, or when `stop` is set.

        Raises:
            RunError: It could not be published, or stayed unanswered.
        """
        probe = Probe(
            self.calls, self.options.topic_path, self.run_id, self.records.bodies[0], self.answers,
            self.collector, self.options.ready_timeout, self.stop, self.clock,
        )  # fmt: skip
        probe.run(self.display)

    def wait_for_senders(self) -> None:
        """Return once they wait for the start, which they do long before the probe is answered.

        Raises:
            RunError: One did not start.
        """
        try:
            self.senders.wait_ready()
        except SendersError as error:
            raise RunError(str(error)) from error

    def drive(self) -> str | None:
        """Send the schedule and wait for the answers; return what ended it early, if anything did."""
        if self.stop.is_set():
            return f"{self.stop.reason} before the first message was sent"
        self.senders.send()
        watch = Watch(self.senders, self.answers, self.clock, self.options.drain_timeout)
        error = None
        deadline = np.inf
        settle_until = None
        while self.clock() < deadline:
            self.display.update(watch.progress())
            if settle_until is not None:
                if self.clock() >= settle_until:
                    break
            elif self.senders.finished and self.answers.answered >= self.senders.sent:
                settle_until = self.clock() + SETTLE_S
            if error is None:
                error = self._why_to_end()
                if error is not None:
                    self.senders.stop()
                    # Without a collector there is nothing to wait for.
                    drain_s = 0.0 if self.collector.error else INTERRUPTED_DRAIN_S
                    deadline = min(deadline, self.clock() + drain_s)
            if deadline == np.inf and self.senders.sent == watch.total:
                deadline = watch.last_due + self.options.drain_timeout
            if error is None:
                self.stop.wait(UPDATE_INTERVAL_S)
            else:
                time.sleep(UPDATE_INTERVAL_S)
        self.display.update(watch.progress())
        # Only now is it certain how many left: senders are in the middle of a request when they are stopped.
        return error and f"{error} after {self.senders.sent:,} of {watch.total:,} messages"

    def _why_to_end(self) -> str | None:
        if self.stop.is_set():
            return self.stop.reason
        if self.collector.error:
            return f"collecting ended ({self.collector.error})"
        return self.senders.failure

    def measurement(self, start: float, ended_at: float, error: str | None) -> Measurement:
        """Return what a run that has ended has recorded.

        Args:
            start: When the schedule began, in epoch seconds.
            ended_at: When `drive` returned.
            error: What it returned.
        """
        auc, auc_note = self.scores.auc(self.senders.sent) if is_example(self.options.input) else (None, None)
        window_start = start + self.options.warmup
        return Measurement(
            run=self.run_id,
            intended=self.answers.intended,
            sent_at=self.senders.sent_at,
            result_at=self.answers.result_at,
            dead_letter_at=self.answers.dead_letter_at,
            stages_ms=self.answers.stages_ms,
            warmup_messages=int(np.searchsorted(self.offsets, self.options.warmup)),
            window_start=window_start,
            window_end=self._window_end(window_start),
            ended_at=ended_at,
            duplicates=self.answers.duplicates,
            publish_errors=self.senders.publish_errors,
            foreign=self.answers.foreign,
            unreadable_results=self.answers.unreadable,
            unacknowledged=self.collector.unacknowledged,
            dead_letter_reasons=self.answers.reasons.commonest(),
            auc=auc,
            auc_note=auc_note,
            error=error,
            last_publish_error=self.senders.last_error,
        )

    def _window_end(self, window_start: float) -> float:
        """Return when the measured window ended: as scheduled, or when the last message sent was due."""
        scheduled = window_start + self.options.duration
        sent_at, intended = self.senders.sent_at, self.senders.intended
        sent = ~np.isnan(sent_at)
        if sent.all():
            return scheduled
        last = float(intended[sent].max()) if sent.any() else window_start
        return min(scheduled, max(window_start, last))

    def raw_log(self, start: float, ended_at: float, error: str | None) -> RawLog:
        """Return all that a run that has ended has recorded; the arguments are as for `measurement`."""
        options = self.options
        facts = RunFacts(
            run=self.run_id,
            system={
                **self.system.facts,
                "input_topic": options.topic_path,
                "output_subscription": options.output_path,
            },
            schedule=str(options.arrivals),
            arrivals_seed=options.seed,
            payloads_seed=options.payload_seed,
            started=start,
            duration=options.arrivals.seconds,
            warmup=options.warmup,
            ended_at=ended_at,
            partial=error,
            drivers=options.drivers,
            publish_calls=self.senders.publish_calls,
            publish_errors=self.senders.publish_errors,
            foreign=self.answers.foreign,
            unreadable_results=self.answers.unreadable,
            unacknowledged=self.collector.unacknowledged,
            dead_letter_reasons={
                f"{reason.stage}: {reason.message}": reason.count
                for reason in self.answers.reasons.commonest()
            },
            versions=versions(),
            cpus=cores(),
        )
        messages = Messages(
            intended=self.senders.intended,
            sent_at=self.senders.sent_at,
            result_at=self.answers.result_at,
            dead_letter_at=self.answers.dead_letter_at,
            stages_ms=self.answers.stages_ms,
            batch_size=self.answers.batch_size,
            deliveries=self.answers.delivered,
        )
        series = {series.name: series for sampler in self.samplers for series in sampler.series()}
        samples = [sample for sampler in self.samplers for sample in sampler.samples]
        return RawLog(facts, messages, series, tuple(sorted(samples, key=lambda sample: sample.at)))

    def close(self) -> None:
        """End threads, processes and connections."""
        self.senders.close()
        self.collector.close()
        self.calls.close()
