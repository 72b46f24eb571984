"""Raw logs of a made system, whose truth is known: a queue in front of a model that takes batches."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from loadtest.raw_log import Floats, Messages, RawLog, RunFacts, Sample, Series

STARTED = 1_790_000_000.0


@dataclass(frozen=True)
class System:
    """What the messages go through.

    Attributes:
        base_s: Time of a model call.
        each_s: More of it for each request in the batch.
        largest_batch: Requests in a call at most.
        delivery_s: From the model's end to the answer's arrival.
        warm_up_s: For so long, a call takes `warm_up_factor` times as long.
        warm_up_factor: See above.
        stalls: Start and length of each stretch in which no call starts.
    """

    base_s: float = 0.004
    each_s: float = 0.0005
    largest_batch: int = 32
    delivery_s: float = 0.003
    warm_up_s: float = 0.0
    warm_up_factor: float = 4.0
    stalls: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True)
class Load:
    """What is sent.

    Attributes:
        rate: Messages a second.
        seconds: How long.
        shape: constant or poisson.
        seed: Of the arrivals and of the noise.
        schedule_error_s: Mean of how much too late each message leaves.
        system_flags: Of the job, as shown.
    """

    rate: float = 200.0
    seconds: float = 60.0
    shape: str = "constant"
    seed: int = 1
    schedule_error_s: float = 0.0001
    system_flags: str = "--max_batch_size=32"


@dataclass(frozen=True)
class Faults:
    """What goes wrong, as messages' numbers.

    Attributes:
        missing: Never answered.
        dead: Answered by a dead letter.
        repeated: Answered twice.
    """

    missing: list[int] = field(default_factory=list)
    dead: list[int] = field(default_factory=list)
    repeated: list[int] = field(default_factory=list)


def made_log(load: Load | None = None, system: System | None = None, faults: Faults | None = None) -> RawLog:
    """Return the raw log of a run."""
    load, system, faults = load or Load(), system or System(), faults or Faults()
    random = np.random.default_rng(load.seed)
    intended = _arrivals(load, random)
    sent = intended + random.exponential(load.schedule_error_s, len(intended))
    read = sent + 0.001 + random.exponential(0.0005, len(sent))
    started, ended, sizes = _served(read, system, random)
    answered = ended + system.delivery_s + random.exponential(0.0003, len(sent))
    messages = Messages(
        intended=STARTED + intended,
        sent_at=STARTED + sent,
        result_at=STARTED + answered,
        dead_letter_at=np.full(len(sent), np.nan),
        stages_ms=np.column_stack(
            [(read - sent), (started - read), (ended - started), np.full(len(sent), np.nan)]
        )
        * 1e3,
        batch_size=sizes,
        deliveries=np.ones(len(sent), dtype=np.int64),
    )
    _hurt(messages, faults)
    last = max(load.seconds, float(answered.max(initial=0.0)))
    ended_at = STARTED + last + (10.0 if faults.missing else 0.0)
    samples = tuple(_samples(load, sizes, started, random))
    names = {
        "driver/cpu_s": "s", "job/cpu_s": "s", "broker/cpu_s": "s", "driver/rss_bytes": "bytes",
        "job/rss_bytes": "bytes", "broker/rss_bytes": "bytes",
    }  # fmt: skip
    series = {name: Series(name, unit, "process") for name, unit in names.items()}
    series["gpu/utilisation"] = Series("gpu/utilisation", "%", "NVML", "not available: no NVIDIA driver here")
    return RawLog(_facts(load, ended_at, len(faults.dead)), messages, series, samples)


def cut_short(log: RawLog, at: float, why: str = "stopped by SIGINT") -> RawLog:
    """Return the same run, ended after so many seconds."""
    gone = log.messages.intended > STARTED + at
    messages = replace(log.messages, **{
        name: np.where(gone, np.nan, getattr(log.messages, name))
        for name in ("sent_at", "result_at", "dead_letter_at", "batch_size")
    }, deliveries=np.where(gone, 0, log.messages.deliveries))  # fmt: skip
    return replace(log, messages=messages, facts=replace(log.facts, partial=why, ended_at=STARTED + at + 1))


def _arrivals(load: Load, random: np.random.Generator) -> Floats:
    n = round(load.rate * load.seconds)
    if load.shape == "poisson":
        return np.sort(random.uniform(0, load.seconds, n))
    return np.arange(n) / load.rate


def _served(read: Floats, system: System, random: np.random.Generator) -> tuple[Floats, Floats, Floats]:
    """Return when each message's call starts and ends, and how many share it."""
    started, ended, sizes = np.empty(len(read)), np.empty(len(read)), np.empty(len(read))
    order = np.argsort(read, kind="stable")
    read = read[order]
    first, free = 0, 0.0
    while first < len(read):
        start = max(free, float(read[first]))
        for stall, length in system.stalls:
            if stall <= start < stall + length:
                start = stall + length
        last = min(int(np.searchsorted(read, start, side="right")), first + system.largest_batch)
        size = max(1, last - first)
        took = (system.base_s + system.each_s * size) * random.lognormal(0, 0.15)
        free = start + took * (system.warm_up_factor if start < system.warm_up_s else 1.0)
        batch = order[first : first + size]
        started[batch], ended[batch], sizes[batch] = start, free, size
        first += size
    return started, ended, sizes


def _hurt(messages: Messages, faults: Faults) -> None:
    messages.dead_letter_at[faults.dead] = messages.result_at[faults.dead]
    for gone in (faults.missing, faults.dead):
        messages.result_at[gone] = np.nan
        messages.stages_ms[gone] = np.nan
        messages.batch_size[gone] = np.nan
    messages.deliveries[faults.missing] = 0
    messages.deliveries[faults.repeated] += 1


def _samples(load: Load, sizes: Floats, started: Floats, random: np.random.Generator) -> list[Sample]:
    found = []
    used = {"driver": 0.0, "job": 0.0, "broker": 0.0}
    memory = {"driver": 9e7, "job": 7.4e8, "broker": 6.5e7}
    calls = 1 / sizes
    for second in range(int(load.seconds) + 1):
        for name in used:
            found.append(Sample(STARTED + second, f"{name}/cpu_s", float(used[name])))
            found.append(Sample(STARTED + second, f"{name}/rss_bytes", memory[name] * (1 + 0.0005 * second)))
        inside = (started >= second) & (started < second + 1)
        used["driver"] += 0.0002 * load.rate * random.lognormal(0, 0.05)
        used["broker"] += 0.0003 * load.rate * random.lognormal(0, 0.05)
        used["job"] += 0.004 * np.nansum(calls[inside]) + 0.0008 * inside.sum()
    return found


def _facts(load: Load, ended_at: float, dead: int) -> RunFacts:
    return RunFacts(
        run="0a1b2c3d",
        system={"kind": "local job", "flags": load.system_flags},
        schedule=f"{load.shape} {load.rate:g}",
        arrivals_seed=load.seed,
        payloads_seed=None,
        started=STARTED,
        duration=load.seconds,
        warmup=0.0,
        ended_at=ended_at,
        partial=None,
        drivers=1,
        publish_calls=round(load.rate * load.seconds),
        publish_errors=0,
        foreign=0,
        unreadable_results=0,
        unacknowledged=0,
        dead_letter_reasons={"decode: features: expected 30 numbers, got 29": dead} if dead else {},
        versions={"python": "3.11.7", "torch": None},
        cpus=2,
    )
