"""The description of one worker that the kernel simulates, in plain numbers: seconds, messages, cores."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TypeAlias

import numpy as np

from launch.settings.job import MPS, NO_SHARING, SINGLE_PROCESS


@dataclass(frozen=True)
class CallTime:
    """How long a call of the model, or of an endpoint, takes that runs alone: fixed_s + each_s x rows.

    Attributes:
        fixed_s: Of each call.
        each_s: Of each of its rows.
        variation: Coefficient of variation of a call's time about that: 0, always the same; 1, exponential.
            The times are gamma distributed.
        slow_down: Pairs of (messages a second of one process, factor), ascending: calls with pauses between
            them take longer. Between two pairs, the factor goes with the logarithm of the rate.
    """

    fixed_s: float
    each_s: float
    variation: float = 0.0
    slow_down: tuple[tuple[float, float], ...] = ()

    def at_rate(self, rate: float) -> CallTime:
        """Return the law as it is at so many messages a second of one process."""
        if not self.slow_down:
            return self
        rates, factors = np.array(self.slow_down).T
        factor = float(np.interp(np.log(max(rate, 1e-9)), np.log(rates), factors))
        return replace(self, fixed_s=self.fixed_s * factor, each_s=self.each_s * factor, slow_down=())

    def seconds(self, rows: int) -> float:
        """Return the time of a call without its variation."""
        return self.fixed_s + self.each_s * rows


@dataclass(frozen=True)
class BundleWork:
    """What a process does of a bundle beside the calls. All but `publish_s` holds the interpreter's lock.

    Attributes:
        begin_s: Before the first message.
        decode_s: Of each message, before its call.
        batch_s: Of each batch: its inputs are put together and handed over.
        encode_s: Of each message, after its call.
        publish_s: From the last encoding until the results are accepted, without use of a processor.
        commit_s: After that, until the thread takes the next bundle.
    """

    begin_s: float = 0.0
    decode_s: float = 0.0
    batch_s: float = 0.0
    encode_s: float = 0.0
    publish_s: float = 0.0
    commit_s: float = 0.0


@dataclass(frozen=True)
class Bundles:
    """How messages become bundles, and how many of these are active.

    Attributes:
        threads: Bundle threads of each process.
        max_messages: Most messages of a bundle.
        keys: That messages of this worker are spread over; a key is in one bundle at a time, and its next
            bundle has what has come meanwhile. None: there are none, and a free thread takes what waits.
        gather_s: The service looks at each key once in so long, and makes a bundle of what has come since,
            whether or not a thread is free. 0: a bundle has what waits when a thread takes it.
        max_active: Most bundles at once on the worker (max_active_bundles_per_worker); None: its threads.
    """

    threads: int = 12
    max_messages: int = 100
    keys: int | None = None
    gather_s: float = 0.0
    max_active: int | None = None


# Off Dataflow, Beam's in-process engine runs one bundle at a time; its messages as in
# `pipeline.io.source.MAX_BUNDLE_MESSAGES`, which cannot be imported without Beam.
LOCAL_ENGINE = Bundles(threads=1, max_messages=500)


@dataclass(frozen=True)
class AcrossBundles:
    """Batches form across the bundles of a process, by the rules of `pipeline.batching.batch_queue`.

    Attributes:
        max_batch_size: As --max_batch_size.
        max_wait_s: As --max_batch_wait_ms.
        concurrent_batches: That run at once in a process: one on a CPU, two on a GPU.
    """

    max_batch_size: int = 128
    max_wait_s: float = 0.001
    concurrent_batches: int = 1


@dataclass(frozen=True)
class WithinBundle:
    """Batches end with their bundle, and each bundle thread calls the model itself, as stock Beam does.

    Attributes:
        max_batch_size: Most messages of a batch.
    """

    max_batch_size: int = 128


Batching: TypeAlias = AcrossBundles | WithinBundle


@dataclass(frozen=True)
class OnCpu:
    """The model computes on the worker's vCPUs.

    Attributes:
        cores: That a call keeps busy.
    """

    cores: float = 1.0


@dataclass(frozen=True)
class OnGpu:
    """The model computes on the worker's GPU, which its processes share.

    Attributes:
        contention: By how much a call takes longer for each other that runs at once. 1: they take turns, and
            together do no more than one alone; 0: they do not feel each other.
        host_cores: That a call keeps busy while it runs, launching kernels and waiting.
    """

    contention: float = 1.0
    host_cores: float = 0.0


Device: TypeAlias = OnCpu | OnGpu

# Without MPS the contexts of processes take turns. What MPS gives depends on how much of the GPU one process
# fills: assumed, to be varied from 0 to 1.
_CONTENTION = {NO_SHARING: 1.0, MPS: 0.5, SINGLE_PROCESS: 1.0}


def shared_gpu(sharing: str, host_cores: float = 0.0) -> OnGpu:
    """Return a GPU that processes share as --gpu-sharing says, where its contention was not measured."""
    return OnGpu(_CONTENTION[sharing], host_cores)


@dataclass(frozen=True)
class ModelInWorker:
    """The model is in the worker.

    Attributes:
        time: Of a call.
        batching: How batches form.
        device: Where they are computed.
    """

    time: CallTime
    batching: Batching
    device: Device = field(default_factory=OnCpu)


@dataclass(frozen=True)
class EndpointCalls:
    """The worker calls an endpoint.

    Attributes:
        time: Of a call that has a place there at once, the way there in it.
        batch_size: As --endpoint_batch_size: most instances of a call.
        max_concurrency: As --endpoint_max_concurrency: most calls of a process at once, halved while the
            endpoint is full.
        at_once: Calls that the endpoint serves at once for this worker without slowing down; further ones
            share its time.
        full_at: Calls in service at which it refuses others with 429; None: never.
        refusal_s: Until a refusal arrives.
        deadline_s: As --endpoint_deadline_s: how long a call is tried; then its bundle begins again.
    """

    time: CallTime
    batch_size: int = 32
    max_concurrency: int = 32
    at_once: float = 1.0
    full_at: int | None = None
    refusal_s: float = 0.005
    deadline_s: float = 120.0


@dataclass(frozen=True)
class Worker:
    """One worker.

    Attributes:
        vcpus: Of its machine.
        model: In the worker, or at an endpoint.
        work: What a bundle costs beside the calls.
        bundles: How they form.
        processes: Python processes, which share the vCPUs.
    """

    vcpus: float
    model: ModelInWorker | EndpointCalls
    work: BundleWork = field(default_factory=BundleWork)
    bundles: Bundles = field(default_factory=Bundles)
    processes: int = 1

    def __post_init__(self) -> None:
        """Check what would make the simulation run for ever, or mean nothing.

        Raises:
            ValueError: A figure is out of range; the message says which.
        """
        bundles, time = self.bundles, self.model.time
        least_one = {
            "processes": self.processes,
            "threads": bundles.threads,
            "max_messages": bundles.max_messages,
            "keys": bundles.keys,
            "max_active": bundles.max_active,
        }
        problems = [f"{name}={value} must be 1 or more" for name, value in least_one.items() if value == 0]
        if self.vcpus <= 0:
            problems.append(f"vcpus={self.vcpus:g} must be above 0")
        if min(time.fixed_s, time.each_s) < 0 or time.seconds(1) <= 0:
            problems.append(f"a call of {time.fixed_s:g} s + {time.each_s:g} s a row must take some time")
        if problems:
            raise ValueError("; ".join(problems))
