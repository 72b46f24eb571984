"""One worker of a published study: its law out of some of its rows, and what the law says of others.

The service makes a bundle of what has come since it last looked, whether or not the worker is ready. All
bundles share one resource (the interpreter, the GPU, or the endpoint's replica), each for a + b x messages.
So, once messages come faster than the service looks, the share of its time that the resource is wanted for
is A + B x rate: a part that does not depend on the rate, as there is a bundle at each look, and one that
does. That is why such a worker does more the more is offered: the same bundles are larger.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from loadtest.raw_log import Floats
from planner.calibration.rows import KEPT_UP, Row
from planner.kernel.simulation import Simulated, evenly, simulate
from planner.kernel.worker import (
    Bundles,
    CallTime,
    EndpointCalls,
    ModelInWorker,
    OnGpu,
    WithinBundle,
    Worker,
)
from planner.law import Figure, ServiceLaw

# Of the study: bundle threads of its worker. Its vCPUs do not matter here, as the law has all of a bundle.
_THREADS, _VCPUS = 12, 4.0
# How long it offered each rate: not stated. From its fitted rows' p99, which is then about
# seconds x (offered / done - 1): 118 to 154 s in eight of the ten rows that did not keep up.
SECONDS = 140.0
_MOST = 10_000  # messages of a bundle; the study's bundles are far smaller


@dataclass(frozen=True)
class Service:
    """What is between the publisher and a worker.

    Attributes:
        look_s: How often it looks for messages, and makes a bundle of them.
        spread_s: Over how long the way there spreads messages.
    """

    look_s: float
    spread_s: float

    def arrivals(self, offered: float, seed: int) -> Floats:
        """Return when messages arrive that were sent evenly, the first in the middle between two looks."""
        sent = evenly(offered, SECONDS) + self.look_s / 2
        return np.sort(sent + np.random.default_rng(seed).uniform(0.0, self.spread_s, len(sent)))

    def bundles_per_second(self, offered: float, seed: int) -> float:
        """Return at how many looks a second something has come."""
        return len(np.unique(np.ceil(self.arrivals(offered, seed) / self.look_s))) / SECONDS


# Assumed: neither is published, and the fitted rows hardly tell: of 10 to 30 ms and 0 to 10 ms these fit the
# 16 of all four configurations as well as any (sum of squared errors 0.020, others 0.019 to 0.05).
# `benchmarks.planner` shows what the others would have predicted.
SERVICE = Service(look_s=0.020, spread_s=0.005)


@dataclass(frozen=True)
class OneWorker:
    """A calibrated worker.

    Attributes:
        mode: "local" or "endpoint".
        law: Of a bundle.
        service: That brings its messages.
        outside_ms: Of the latency, what is outside the worker: publishing, Pub/Sub, the way of the result.
    """

    mode: str
    law: ServiceLaw
    service: Service
    outside_ms: float

    def times(self, factor: float, why: str) -> OneWorker:
        """Return the worker with another machine's law."""
        return OneWorker(self.mode, self.law.times(factor, why), self.service, self.outside_ms)


@dataclass(frozen=True)
class Predicted:
    """What a calibrated worker does with a rate.

    Attributes:
        done: Messages a second.
        p50_ms: From publishing to the result.
        kept_up: Whether it does what is offered.
    """

    done: float
    p50_ms: float
    kept_up: bool


def worker(one: OneWorker) -> Worker:
    """Return the kernel's description of a calibrated worker."""
    return _worker(one.mode, one.law.likeliest, one.service.look_s)


def calibrate(rows: Sequence[Row], seed: int, source: str, service: Service = SERVICE) -> OneWorker:
    """Return the worker that fits some rows of one configuration best.

    Done rates of the rows that did not keep up give the law, p50 of those that did what is outside.

    Args:
        rows: At least two that did not keep up, and one that did.
        seed: Of the arrivals.
        source: Of the rows.
        service: That brings its messages.

    Raises:
        ValueError: Too few rows; the message says what is missing.
    """
    over = [row for row in rows if not row.kept_up]
    under = [row for row in rows if row.kept_up]
    if len(over) < 2 or not under:
        raise ValueError(
            f"{len(under)} of {len(rows)} rows kept up: a calibration needs one, and two that did not"
        )
    # done = offered / wanted: a x bundles + b x messages of each second is offered / done seconds.
    parts = np.array([(service.bundles_per_second(row.offered, seed), row.offered) for row in over])
    wanted = np.array([row.offered / row.done for row in over])
    (fixed_s, each_s), *_ = np.linalg.lstsq(parts, wanted, rcond=None)
    law = ServiceLaw(_estimated(fixed_s, source), _estimated(each_s, source))
    inside = OneWorker(rows[0].mode, law, service, 0.0)
    outside = [row.p50_ms - predict(inside, row.offered, seed).p50_ms for row in under]
    return OneWorker(rows[0].mode, law, service, max(0.0, float(np.mean(outside))))


def predict(one: OneWorker, offered: float, seed: int) -> Predicted:
    """Return what a calibrated worker does with a rate, over `SECONDS`."""
    run = _run(one, offered, seed)
    done = len(run.done) / float(run.done.max() - run.arrived[0])
    p50_ms = float(np.median(run.latency_s)) * 1e3 + one.outside_ms
    return Predicted(min(done, offered), p50_ms, done >= KEPT_UP * offered)


def factor_between(one: OneWorker, row: Row, seed: int) -> float:
    """Return by how much a law has to be longer for a worker to do what a row of overload says it did."""
    bundles = one.service.bundles_per_second(row.offered, seed)
    time = one.law.likeliest
    wanted = time.fixed_s * bundles + time.each_s * row.offered
    return row.offered / row.done / wanted


def _estimated(seconds: float, source: str) -> Figure:
    value = max(0.0, float(seconds)) * 1e3
    return Figure(value, value, value, "ms", "estimated", f"fitted to done rates of {source}")


def _run(one: OneWorker, offered: float, seed: int) -> Simulated:
    return simulate(worker(one), one.service.arrivals(offered, seed), seed, offered)


def _worker(mode: str, time: CallTime, look_s: float) -> Worker:
    bundles = Bundles(threads=_THREADS, max_messages=_MOST, gather_s=look_s)
    if mode == "endpoint":
        model: ModelInWorker | EndpointCalls = EndpointCalls(time, batch_size=_MOST, at_once=1.0)
    else:
        model = ModelInWorker(time, WithinBundle(_MOST), OnGpu(contention=1.0))
    return Worker(_VCPUS, model, bundles=bundles)
