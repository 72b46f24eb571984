"""Vertex AI's autoscaler of an endpoint's replicas.

By Google's page on scaling inference nodes: every 15 s it computes ceil(replicas x utilisation / target
utilisation) of each metric, and applies the highest of the last 5 minutes; then come machine, image and
model. With scale to zero there is no replica while nobody calls: calls are refused with 429, and the first
one starts the initial replicas.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from launch.settings.endpoint_parsers import CPU, GPU_DUTY_CYCLE, METRICS, PUBSUB_UNDELIVERED, REQUEST_COUNT
from planner.draws import Draws

Floats = NDArray[np.float64]

CYCLE_S = 15.0
WINDOW_S = 300.0
DEFAULT_TARGET = 60
"""Percent, of CPU and of a GPU's duty cycle."""
DEFAULT_PERIOD_S = 3_600.0
"""Of both periods of scale to zero."""

_ROUNDING = 1e-9


def wanted_replicas(replicas: Floats, utilization: Floats, target: float) -> Floats:
    """Return ceil(replicas x utilisation / target), all [draws]; 2 at 100 against 60 are 4, 10 at 1 are 1."""
    return np.ceil(replicas * utilization / target - _ROUNDING)


@dataclass(frozen=True)
class VertexSettings:
    """The knobs of Google's page, as `endpoint deploy` names them.

    Attributes:
        min_replicas: Fewest; 0 with scale to zero.
        max_replicas: Most; beyond what they carry, calls are refused.
        scaling_metric: Targets by metric, as `--scaling-metric` has them. Empty for the service's own: 60 %
            of CPU and, with a GPU, of its duty cycle.
        gpu: Whether replicas have a GPU.
        scale_to_zero: Whether there is no replica while nobody calls.
        initial_replicas: Those that the first call starts then.
        min_scaleup_s: Seconds that it stays up at least.
        idle_scaledown_s: Seconds without a call before it goes.
        image_pull_s: Seconds to download the image; None for the unknown's part of a replica change.
        model_load_s: Seconds to load the model; None likewise.
        instances_per_call: Instances of one call, by which the metric of calls is counted.
    """

    min_replicas: int = 1
    max_replicas: int = 1
    scaling_metric: Mapping[str, int] = field(default_factory=dict)
    gpu: bool = False
    scale_to_zero: bool = False
    initial_replicas: int = 1
    min_scaleup_s: float = DEFAULT_PERIOD_S
    idle_scaledown_s: float = DEFAULT_PERIOD_S
    image_pull_s: float | None = None
    model_load_s: float | None = None
    instances_per_call: float = 1.0

    def __post_init__(self) -> None:
        fewest = 0 if self.scale_to_zero else 1
        if not fewest <= self.min_replicas <= self.max_replicas or self.max_replicas < 1:
            raise ValueError(
                f"{self.min_replicas} to {self.max_replicas} is no range of replicas: take 1 ≤ fewest ≤ "
                "most, from 0 with scale to zero"
            )
        if unknown := sorted(set(self.scaling_metric) - set(METRICS)):
            raise ValueError(f"{', '.join(unknown)} is no metric: choose of {', '.join(METRICS)}")

    @property
    def targets(self) -> Mapping[str, int]:
        """Targets by metric; the service's own where none was given."""
        if self.scaling_metric:
            return self.scaling_metric
        return {CPU: DEFAULT_TARGET} | ({GPU_DUTY_CYCLE: DEFAULT_TARGET} if self.gpu else {})

    @property
    def least(self) -> int:
        """Fewest replicas while it is up."""
        return max(self.min_replicas, 1)


@dataclass(frozen=True, eq=False)
class ReplicaStart:
    """The lag of a new replica by its parts, each [draws] seconds.

    Attributes:
        provision_s: Until the machine is there.
        pull_s: Until the image is on it.
        load_s: Until the model is loaded and the container answers.
    """

    provision_s: Floats
    pull_s: Floats
    load_s: Floats

    @property
    def total_s(self) -> Floats:
        """From the decision to the first answer."""
        return self.provision_s + self.pull_s + self.load_s


def replica_start(settings: VertexSettings, draws: Draws) -> ReplicaStart:
    """Return the lag of a new replica: drawn as a whole, as observed, but for the parts that are known."""
    whole = draws["replica_change_s"]
    pull, load = whole * draws["replica_pull_share"], whole * draws["replica_load_share"]
    return ReplicaStart(
        whole - pull - load,
        pull if settings.image_pull_s is None else np.full(draws.count, settings.image_pull_s),
        load if settings.model_load_s is None else np.full(draws.count, settings.model_load_s),
    )


@dataclass(frozen=True, eq=False)
class ReplicaSignals:
    """What the autoscaler looks at, each [draws], means of the last cycle.

    Attributes:
        replicas: Ready at the moment.
        cpu: Utilisation, 0 to 1.
        gpu: Duty cycle, 0 to 1.
        instances: Instances a second, over all replicas.
        undelivered: Messages that the subscription holds.
        calling: Whether anybody called.
    """

    replicas: Floats
    cpu: Floats
    gpu: Floats
    instances: Floats
    undelivered: Floats
    calling: NDArray[np.bool_]


class VertexAutoscaler:
    """Decides on the replicas of an endpoint, for all draws at once."""

    def __init__(self, settings: VertexSettings, draws: Draws, cycles: int) -> None:
        """Begin with the fewest replicas as the target.

        Args:
            settings: The knobs.
            draws: Of the unknowns.
            cycles: Cycles of 15 s that the run has at most.
        """
        self.settings = settings
        self.target = np.full(draws.count, float(settings.min_replicas))
        """[draws] replicas that it has asked for."""
        self._tolerance = draws["replica_tolerance"]
        self._lag = np.rint(draws["replica_metric_lag_s"] / CYCLE_S).astype(np.int64)
        # What each cycle's metrics ask for; before the first, the fewest.
        self._asked = np.zeros((cycles + 1, draws.count))
        self._cycle = 0
        self._up_since = np.zeros(draws.count)
        self._called = np.zeros(draws.count)

    def decide(self, now: float, signals: ReplicaSignals) -> Floats:
        """Return the replicas to have, [draws], and remember them as the target. Call it every 15 s.

        Replicas and utilisation are of the same moment, both as old as the metric: the load they amount to
        was there then. With today's replicas and yesterday's utilisation, each cycle of the lag would count a
        new replica again.
        """
        self._cycle += 1
        self._asked[self._cycle] = self._ask(signals)
        settings = self.settings
        first = np.maximum(self._cycle - self._lag - round(WINDOW_S / CYCLE_S) + 1, 0)
        last = np.maximum(self._cycle - self._lag, 0)
        wanted = np.array(
            [
                self._asked[begin : end + 1, draw].max()
                for draw, (begin, end) in enumerate(zip(first, last, strict=True))
            ]
        )
        wanted = np.clip(wanted, settings.least, settings.max_replicas)
        if settings.scale_to_zero:
            wanted = self._to_zero(now, signals, wanted)
        self.target = wanted
        return wanted

    def called_at_zero(self, now: float, draws: NDArray[np.bool_]) -> Floats:
        """Have the first call start the initial replicas in these draws, and return the target."""
        self._up_since[draws] = now
        self._called[draws] = now
        initial = min(max(self.settings.initial_replicas, self.settings.least), self.settings.max_replicas)
        self.target = np.where(draws, float(initial), self.target)
        return self.target

    def _ask(self, signals: ReplicaSignals) -> Floats:
        replicas = signals.replicas
        per_replica = np.maximum(replicas, 1.0)
        calls = signals.instances / self.settings.instances_per_call * 60
        loads = {
            CPU: 100 * signals.cpu,
            GPU_DUTY_CYCLE: 100 * signals.gpu,
            REQUEST_COUNT: calls / per_replica,
            PUBSUB_UNDELIVERED: signals.undelivered / per_replica,
        }
        asked = np.zeros(len(replicas))
        for metric, target in self.settings.targets.items():
            load = loads[metric]
            wanted = wanted_replicas(per_replica, load, target)
            near = np.abs(load / target - 1) <= self._tolerance
            asked = np.maximum(asked, np.where(near, replicas, wanted))
        return asked

    def _to_zero(self, now: float, signals: ReplicaSignals, wanted: Floats) -> Floats:
        self._called = np.where(signals.calling, now, self._called)
        idle = now - self._called >= self.settings.idle_scaledown_s
        stayed = now - self._up_since >= self.settings.min_scaleup_s
        down = (self.target == 0) | (idle & stayed)
        return np.where(down, 0.0, wanted)
