"""What a diagnosis is made from: numbers alone."""

from __future__ import annotations

from dataclasses import dataclass

from loadtest.bottleneck.thresholds import HAND_OVER_S


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """The figures of one run. None: not known, or not there; it is never 0 in their place.

    Times are means in seconds over the messages due in the window. Shares, answers and processor time are
    over the window and on to the last answer of its messages.

    Attributes:
        messages: Due in the window.
        offered: Messages due, 1/s.
        answered: Answers, 1/s, up to the last one: what the system carries where it does not keep up.
        achieved: Share of the messages due by the window's end that had been sent by then, 0 to 1; those of
            the warm-up count, too.
        growth: Of the backlog, over the rate: 0.1 where one message in ten stays behind.
        detectable_growth: The smallest that the window can tell.
        latency_s: From the intended send to the answer. A message without an answer counts for as long as it
            was waited for.
        latency_limit_s: What that is held against.
        late_s: From the intended to the actual send.
        queue_s: From publishing to the job's decoding.
        batch_wait_s: From the beginning of decoding to the call of model or endpoint.
        inference_s: In that call, retries included.
        server_s: Of it, what the endpoint reports as its own.
        rest_s: From the actual send to the answer, without the three before it: publishing the request,
            encoding, what the bundle still does before its results are published, and their delivery.
        batch_size: Mean requests in a call, over calls.
        batch_limit: The most that there may be.
        fixed_share: Of a call's time at that size, what does not depend on the size at least, 0 to 1.
        decoding: Share of the bundle thread's time in which it decodes, 0 to 1. Known where one thread runs
            one bundle at a time, and the model is in the job.
        model_calls: Calls of the model within the job at once, on average.
        model_limit: The most that there may be.
        endpoint_calls: Calls of the endpoint in flight, on average.
        endpoint_limit: The most that there may be.
        bundles_limit: Bundles that the job runs at once.
        waiting: Share of the bundle thread's time in which it waits for the endpoint, 0 to 1. Known where one
            thread runs one bundle at a time, and the job's log has been read.
        throttled: Share of the time that bundles waited for the endpoint in which it would take no more.
        refused: Share of the endpoint's answers that it is full, 0 to 1.
        processes: Of the job, each with the model or with calls of the endpoint.
        drivers: Processes that send.
        cpus: Processors of the machine that the driver is on.
        job_cores: Processor time of the job, in cores.
        broker_cores: Of the broker.
        driver_cores: Of all drivers.
        container_cores: Of the endpoint's container.
        worker_utilisation: Of the processors of the job's workers in the cloud, 0 to 1.
        workers: Of the job in the cloud.
        target_workers: That its autoscaler wants.
        most_workers: That it may have.
        upscale_decisions: Samples at which the autoscaler gave a reason to want more workers.
        replicas: Of the endpoint in the cloud.
    """

    messages: int
    offered: float
    answered: float
    achieved: float
    growth: float | None = None
    detectable_growth: float | None = None
    latency_s: float
    latency_limit_s: float
    late_s: float
    queue_s: float | None = None
    batch_wait_s: float | None = None
    inference_s: float | None = None
    server_s: float | None = None
    rest_s: float | None = None
    batch_size: float | None = None
    batch_limit: int | None = None
    fixed_share: float | None = None
    decoding: float | None = None
    model_calls: float | None = None
    model_limit: int | None = None
    endpoint_calls: float | None = None
    endpoint_limit: int | None = None
    bundles_limit: int | None = None
    waiting: float | None = None
    throttled: float | None = None
    refused: float | None = None
    processes: int | None = None
    drivers: int = 1
    cpus: int | None = None
    job_cores: float | None = None
    broker_cores: float | None = None
    driver_cores: float | None = None
    container_cores: float | None = None
    worker_utilisation: float | None = None
    workers: float | None = None
    target_workers: float | None = None
    most_workers: int | None = None
    upscale_decisions: int | None = None
    replicas: float | None = None

    @property
    def handing_over(self) -> float | None:
        """Share of a local job's time in which batches go from decoding to the model; None if not known."""
        if self.bundles_limit != 1 or self.model_calls is None or not self.batch_size:
            return None
        return min(1.0, HAND_OVER_S * self.answered / self.batch_size)

    def share(self, seconds: float | None) -> float | None:
        """Return a stage's share of the latency without queue and the driver's delay; None where not known.

        Those two are waits for what the others do: a queue is long because a stage behind it is slow.
        """
        stages = (self.batch_wait_s, self.inference_s, self.rest_s)
        known = [stage for stage in stages if stage is not None]
        if seconds is None or len(known) < len(stages) or not sum(known) > 0:
            return None
        return seconds / sum(known)
