"""The first request of a run: whether the job is there, before the schedule begins."""

from __future__ import annotations

import os
from dataclasses import dataclass

import grpc

from loadtest.clock import Clock
from loadtest.display import Display, Phase, Progress
from loadtest.driver.answers import Answers
from loadtest.driver.collector import Collector
from loadtest.driver.errors import RunError
from loadtest.driver.pubsub import Calls, request_message
from loadtest.interrupt import Stop
from pipeline.pubsub.calls import routing
from pipeline.pubsub.codes import TRANSIENT, explain
from pipeline.pubsub.emulator import VARIABLE
from pipeline.pubsub.protos import Proto, PublishRequest


@dataclass(frozen=True)
class Probe:
    """One request that is in no count.

    Attributes:
        calls: Pub/Sub.
        topic: Full name.
        run_id: Of the run; the request's id is RUN-probe.
        body: Of the request.
        answers: Told of its answer.
        collector: Feeds `answers`.
        ready_timeout: Seconds to wait for the answer.
        stop: Set to end the run early.
        clock: Epoch seconds.
    """

    calls: Calls
    topic: str
    run_id: str
    body: bytes
    answers: Answers
    collector: Collector
    ready_timeout: float
    stop: Stop
    clock: Clock

    def run(self, display: Display) -> None:
        """Send it, and return when it is answered, or when `stop` is set.

        So a job that is still starting, or is not connected at all, is not taken for a slow one.

        Args:
            display: Told that the job is waited for.

        Raises:
            RunError: It could not be published, or stayed unanswered.
        """
        begun = self.clock()
        deadline = begun + self.ready_timeout
        message = request_message(self.body, f"{self.run_id}-probe", begun, begun)
        self._publish(PublishRequest(topic=self.topic, messages=[message]), begun, display)
        answers_from = " and ".join(stream.subscription for stream in self.collector.streams)
        waits_for = f"waiting for the job to answer a first request, on {answers_from}"
        while not self.stop.is_set() and not self.answers.probe_answered.wait(0.05):
            display.update(self._progress("waiting for the job", waits_for, begun))
            if self.collector.error:
                raise RunError(
                    f"cannot collect answers from {self.collector.error}; check the name and your permissions"
                )
            if self.clock() > deadline:
                raise RunError(
                    f"no answer to a first request within {self.ready_timeout:g} s: {answers_from} stayed "
                    "silent. "
                    f"Check that the job runs, that it reads {self.topic}, and that it writes to the topic "
                    "of that subscription"
                )

    def _progress(self, phase: Phase, waits_for: str, begun: float, note: str = "") -> Progress:
        elapsed = self.clock() - begun
        left = self.ready_timeout - elapsed
        total = len(self.answers.intended)
        return Progress(phase, elapsed, total, left=left, waits_for=waits_for, note=note)

    def _publish(self, request: Proto, begun: float, display: Display) -> None:
        emulator = os.environ.get(VARIABLE)
        pubsub = f"Pub/Sub at {emulator} ({VARIABLE})" if emulator else "Pub/Sub of Google Cloud"
        waits_for = f"waiting for {pubsub} to take a first request for {self.topic}"
        note = ""
        while not self.stop.is_set():
            # Before each try, as one may take 5 s.
            display.update(self._progress("waiting for Pub/Sub", waits_for, begun, note))
            try:
                self.calls.publish(request, timeout=5.0, metadata=routing("topic", self.topic))
                return
            except grpc.RpcError as error:
                note = explain(error)
                late = self.clock() > begun + self.ready_timeout
                if error.code() not in TRANSIENT or late:
                    waited = f" within {self.ready_timeout:g} s" if late else ""
                    raise RunError(
                        f"cannot publish to --input_topic {self.topic}{waited}: {note}; check its name, "
                        f"that it exists, and that {pubsub} is reachable"
                    ) from error
                self.stop.wait(0.2)
