"""The kernel against queues whose latency and length are known in closed form, within 2 %."""

from __future__ import annotations

import math

import numpy as np
import pytest

from benchmarks.planner import queues
from benchmarks.planner.queues import SERVICE_S, Queue

MESSAGES = 300_000
SEED = 5


@pytest.mark.slow
@pytest.mark.parametrize("queue", queues.queues(), ids=lambda queue: f"{queue.name} at {queue.load}")
def test_mean_latency_and_length(queue: Queue) -> None:
    found = queues.run(queue, MESSAGES, SEED)
    assert found.latency_s.mean() == pytest.approx(queue.latency_s, rel=0.02)
    assert queues.length(found) == pytest.approx(queue.rate * queue.latency_s, rel=0.02)  # Little's law


@pytest.mark.slow
def test_quantiles_of_mm1() -> None:
    # The time in the system is exponential.
    found = queues.run(queues.mm1(0.5), MESSAGES, SEED)
    for q in (0.5, 0.9, 0.99):
        known = -math.log(1 - q) * SERVICE_S / 0.5
        assert np.quantile(found.latency_s, q) == pytest.approx(known, rel=0.03)
