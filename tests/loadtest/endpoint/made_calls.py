"""Loads that nobody sent, of known latencies."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from loadtest.endpoint.calls import Calls
from loadtest.raw_log import Floats

START = 1_000.0


def made_calls(
    intended: Floats, latency: Floats, *, duration: float | None = None, rows: int = 1, **changes: object
) -> Calls:
    """Return calls that were all sent in time and served.

    Args:
        intended: [n] seconds after the start.
        latency: [n] seconds.
        duration: Seconds; by default until the last call is due, and 1 more.
        rows: Instances in each call.
        changes: Fields of `Calls` that are otherwise.
    """
    n = len(intended)
    at = START + intended
    length = duration if duration is not None else float(intended[-1]) + 1.0
    calls = Calls(
        rows=rows,
        intended=at,
        waited_s=np.zeros(n),
        sent_at=at + 1e-4,
        ended_at=at + latency,
        connect_s=np.full(n, np.nan),
        server_ms=np.full(n, np.nan),
        retry_after_s=np.zeros(n),
        failures=np.full(n, "", dtype="U16"),
        reasons={},
        start=START,
        warmup=0.0,
        duration=length,
        ended=float((at + latency).max()),
        deadline_s=30.0,
        connections=64,
        cpu_s=0.1,
    )
    return replace(calls, **changes)  # type: ignore[arg-type]


def queue(rate: float, service_s: float, seconds: float, seed: int, rows: int = 1) -> Calls:
    """Return what one worker makes of a Poisson process: first come, first served, `service_s` each."""
    random = np.random.default_rng(seed)
    intended = np.cumsum(random.exponential(1 / rate, int(rate * seconds * 1.5) + 50))
    intended = intended[intended < seconds]
    done = np.empty_like(intended)
    free = 0.0
    for number, at in enumerate(intended.tolist()):
        free = max(free, at) + service_s
        done[number] = free
    return made_calls(intended, done - intended, duration=seconds, rows=rows)
