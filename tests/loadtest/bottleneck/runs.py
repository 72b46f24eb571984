"""Raw logs of runs whose truth is known."""

from __future__ import annotations

import math

import numpy as np

from loadtest.raw_log import Messages, RawLog, RunFacts, Sample, Series

STARTED = 1.79e9


def run(
    *,
    rate: float = 100.0,
    seconds: float = 20.0,
    late_s: float = 0.0,
    capacity: float = math.inf,
    queue_ms: float = 2.0,
    batch_wait_ms: float = 1.0,
    inference_ms: float = 3.0,
    server_ms: float = math.nan,
    rest_ms: float = 4.0,
    batch_size: float = 1.0,
    flags: str | None = "",
    kind: str = "local job",
    cores: dict[str, float] | None = None,
    values: dict[str, float] | None = None,
) -> RawLog:
    """Return a run at a constant rate whose messages all take the same time.

    Args:
        rate: 1/s.
        seconds: Of the schedule.
        late_s: How much later than intended each message is sent.
        capacity: Answers come at this rate at most, and messages queue up before it.
        queue_ms: Of each message, beside what they queue for the capacity.
        batch_wait_ms: Of each message.
        inference_ms: Of each message.
        server_ms: Of each message.
        rest_ms: Of each message.
        batch_size: Of each message.
        flags: Of the job; None where they are not known.
        kind: Of the system.
        cores: Of processes, by name.
        values: Of other series, by name; a sample each second.
    """
    n = round(rate * seconds)
    intended = STARTED + np.arange(n) / rate
    sent_at = intended + late_s
    held = (queue_ms + batch_wait_ms + inference_ms + rest_ms) / 1e3
    waited = (
        np.maximum(0.0, STARTED + np.arange(n) / capacity - sent_at) if capacity < math.inf else np.zeros(n)
    )
    result_at = sent_at + waited + held
    stages = np.column_stack(
        [queue_ms + waited * 1e3, np.full(n, batch_wait_ms), np.full(n, inference_ms), np.full(n, server_ms)]
    )
    seconds_of_samples = np.arange(STARTED, result_at[-1] + 1)
    names = {f"{name}/cpu_s": cores_ for name, cores_ in (cores or {}).items()}
    samples = [
        Sample(at, name, slope * (at - STARTED)) for at in seconds_of_samples for name, slope in names.items()
    ]
    samples += [
        Sample(at, name, value) for at in seconds_of_samples for name, value in (values or {}).items()
    ]
    system = {"kind": kind} | ({} if flags is None else {"flags": flags})
    facts = RunFacts(
        run="1", system=system, schedule=f"constant {rate:g}", arrivals_seed=0, payloads_seed=None,
        started=STARTED, duration=seconds, warmup=0.0, ended_at=float(result_at[-1]) + 1, partial=None,
        drivers=1, publish_calls=n, publish_errors=0, foreign=0, unreadable_results=0, unacknowledged=0,
        dead_letter_reasons={}, versions={}, cpus=2,
    )  # fmt: skip
    messages = Messages(
        intended, sent_at, result_at, np.full(n, np.nan), stages, np.full(n, batch_size), np.ones(n, np.int64)
    )
    series = {name: Series(name, "s", "process") for name in names}
    series |= {name: Series(name, "1", "Cloud Monitoring") for name in values or {}}
    return RawLog(facts, messages, series, tuple(samples))
