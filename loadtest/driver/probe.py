"""The first request of a run: whether the job is there, before the schedule begins."""

from __future__ import annotations

from dataclasses import dataclass

import grpc

from loadtest.clock import Clock
from loadtest.display import Display, Progress
from loadtest.driver.answers import Answers
from loadtest.driver.collector import Collector
from loadtest.driver.errors import RunError
from loadtest.driver.pubsub import Calls, request_message
from loadtest.interrupt import Stop
from pipeline.pubsub.calls import routing
from pipeline.pubsub.codes import TRANSIENT, explain
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
        self._publish(PublishRequest(topic=self.topic, messages=[message]), deadline)
        while not self.stop.is_set() and not self.answers.probe_answered.wait(0.05):
            display.update(
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
                    f"no answer to a first request within {self.ready_timeout:g} s: {silent} stayed silent. "
                    f"Check that the job runs, that it reads {self.topic}, and that it writes to the topic "
                    "of that subscription"
                )

    def _publish(self, request: Proto, deadline: float) -> None:
        while not self.stop.is_set():
            try:
                self.calls.publish(request, timeout=5.0, metadata=routing("topic", self.topic))
                return
            except grpc.RpcError as error:
                if error.code() not in TRANSIENT or self.clock() > deadline:
                    raise RunError(
                        f"cannot publish to --input_topic {self.topic}: {explain(error)}; check its name, "
                        "that it exists, and that Pub/Sub (or PUBSUB_EMULATOR_HOST) is reachable"
                    ) from error
                self.stop.wait(0.2)
