"""What Google does not publish of its autoscalers: a default, a range and its evidence for each.

A prediction is made for many draws of these, so that it comes with the band that not knowing them leaves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType


class Distribution(StrEnum):
    """How a value is spread over its range."""

    UNIFORM = "uniform"
    LOGNORMAL = "lognormal"
    TRIANGULAR = "triangular"


class Basis(StrEnum):
    """How much is known of a range."""

    OFFICIAL = "official"
    """Google's own text or code has it, though not for this purpose or no longer."""
    STUDIED = "studied"
    """Published measurements of others."""
    ASSUMED = "assumed"
    """Nobody has published anything: wide, and to be replaced by a measurement."""


@dataclass(frozen=True)
class Unknown:
    """One value that is not published.

    Attributes:
        default: The value of the central prediction.
        low: Least of the range.
        high: Most of the range.
        unit: Of all three.
        distribution: Over the range. "lognormal" has its median at the default and is cut at the range's
            ends; "triangular" has its peak there.
        meaning: One line for a person.
        source: Where range and default come from.
        basis: How good that is.
        sigma: Of "lognormal": standard deviation of the logarithm.
    """

    default: float
    low: float
    high: float
    unit: str
    distribution: Distribution
    meaning: str
    source: str
    basis: Basis
    sigma: float = 0.0

    def __post_init__(self) -> None:
        if not self.low <= self.default <= self.high:
            raise ValueError(f"{self.meaning}: {self.default:g} is not from {self.low:g} to {self.high:g}")
        if (self.distribution is Distribution.LOGNORMAL) != (self.sigma > 0):
            raise ValueError(f"{self.meaning}: a sigma above 0 goes with lognormal, and with nothing else")


_STREAMING_TALK = "Beam blog 2023-12, citing Google's talk on Dataflow's streaming autoscaler"
_OLD_TEXT = "Google's older page on deploying a pipeline, quoted in a public talk"
_TROUBLESHOOTING = "Google's page on troubleshooting Dataflow autoscaling, 2026-03-03"
_STARTS = "8 published starts of streaming jobs, 1.7 to 4.3 min to the first output"
_STUDY = "a public study of T4 and L4 on Dataflow and Vertex AI, March 2026"
_TIERS = "the tiers are named, their seconds are not published"
_NOBODY = "not published anywhere that we know"

UNKNOWNS: Mapping[str, Unknown] = MappingProxyType(
    {
        "decision_period_s": Unknown(
            60, 30, 120, "s", Distribution.UNIFORM,
            "how often Dataflow decides on workers", _NOBODY, Basis.ASSUMED,
        ),
        "stable_for_s": Unknown(
            120, 120, 240, "s", Distribution.UNIFORM,
            "how long a signal must last before Dataflow acts on it", f"{_TROUBLESHOOTING}; {_OLD_TEXT}",
            Basis.OFFICIAL,
        ),
        "backlog_trigger_s": Unknown(
            15, 10, 120, "s", Distribution.TRIANGULAR,
            "backlog, in seconds of work, above which Dataflow adds workers",
            f"a published guide (15 s); {_TROUBLESHOOTING}", Basis.STUDIED,
        ),
        "low_latency_trigger_s": Unknown(
            5, 1, 15, "s", Distribution.UNIFORM,
            "the same with the latency tier low-latency", _TIERS,
            Basis.ASSUMED,
        ),
        "high_latency_trigger_s": Unknown(
            60, 30, 300, "s", Distribution.UNIFORM,
            "the same with the latency tier high-latency", _TIERS,
            Basis.ASSUMED,
        ),
        "clear_backlog_in_s": Unknown(
            150, 100, 200, "s", Distribution.TRIANGULAR,
            "time in which Dataflow means to clear a backlog", _OLD_TEXT, Basis.OFFICIAL,
        ),
        "cpu_floor": Unknown(
            0.2, 0.1, 0.2, "share", Distribution.UNIFORM,
            "CPU utilisation below which a backlog adds no workers",
            f"{_OLD_TEXT} (20 %); the page of 2026-03 speaks of limited parallelism instead", Basis.OFFICIAL,
        ),
        "down_backlog_s": Unknown(
            10, 10, 10, "s", Distribution.UNIFORM,
            "backlog, in seconds of work, below which Dataflow takes workers away", _TROUBLESHOOTING,
            Basis.OFFICIAL,
        ),
        "damping": Unknown(
            1.0, 0.5, 1.0, "share", Distribution.UNIFORM,
            "part of a wanted increase that Dataflow makes at once", _NOBODY, Basis.ASSUMED,
        ),
        "throttled_share": Unknown(
            0.1, 0.05, 0.3, "share", Distribution.UNIFORM,
            "reported throttling above which Dataflow adds no workers", _NOBODY, Basis.ASSUMED,
        ),
        "job_start_s": Unknown(
            168, 102, 258, "s", Distribution.LOGNORMAL,
            "from a launch to the first output", _STARTS, Basis.STUDIED, sigma=0.3,
        ),
        "worker_start_s": Unknown(
            108, 42, 198, "s", Distribution.LOGNORMAL,
            "from Dataflow's decision to the added worker's first output",
            f"about 1 min less than a job's start ({_STARTS})", Basis.STUDIED, sigma=0.3,
        ),
        "gpu_worker_start_s": Unknown(
            480, 300, 900, "s", Distribution.LOGNORMAL,
            "the same for a worker with a GPU", _STUDY, Basis.STUDIED, sigma=0.3,
        ),
        "worker_start_spread": Unknown(
            0.15, 0.0, 0.3, "sd of the logarithm", Distribution.UNIFORM,
            "how far workers that were added together start apart", _NOBODY, Basis.ASSUMED,
        ),
        "worker_skew": Unknown(
            0.05, 0.0, 0.2, "sd / mean", Distribution.TRIANGULAR,
            "how unevenly messages are spread over workers", _NOBODY, Basis.ASSUMED,
        ),
        "replica_change_s": Unknown(
            160, 138, 180, "s", Distribution.UNIFORM,
            "from Vertex AI's decision to the replica that serves", f"{_STUDY}: 2.3 to 3 min a change",
            Basis.STUDIED,
        ),
        "replica_pull_share": Unknown(
            0.3, 0.15, 0.45, "share", Distribution.UNIFORM,
            "part of that for the image's download", "the study gives the whole only", Basis.ASSUMED,
        ),
        "replica_load_share": Unknown(
            0.15, 0.05, 0.25, "share", Distribution.UNIFORM,
            "part of that for the model's load", "the study gives the whole only", Basis.ASSUMED,
        ),
        "deployment_s": Unknown(
            1_200, 900, 1_800, "s", Distribution.TRIANGULAR,
            "a first deployment to Vertex AI", f"{_STUDY}: 15 to 30 min", Basis.STUDIED,
        ),
        "replica_tolerance": Unknown(
            0.05, 0.0, 0.1, "share", Distribution.UNIFORM,
            "deviation from the target that changes no replicas",
            "Vertex AI's API speaks of 'a certain percentage'", Basis.ASSUMED,
        ),
        "replica_metric_lag_s": Unknown(
            30, 0, 60, "s", Distribution.UNIFORM,
            "age of the utilisation that Vertex AI decides by", _NOBODY, Basis.ASSUMED,
        ),
        "core_factor": Unknown(
            2.0, 1.0, 2.8, "x", Distribution.TRIANGULAR,
            "time of an N1 vCPU over that of a core of the profile's machine",
            "tuned stock Beam takes 78 µs a message here, 1 / 4,650 s on a published run's vCPU, which is "
            "half a core and has the runner's own process besides",
            Basis.ASSUMED,
        ),
        "look_s": Unknown(
            0.02, 0.005, 0.05, "s", Distribution.UNIFORM,
            "how often Dataflow makes a bundle of what has come to a worker",
            "what a public study's rows are fitted with (planner/calibration); nobody publishes it",
            Basis.ASSUMED,
        ),
        "way_s": Unknown(
            0.04, 0.03, 0.06, "s", Distribution.TRIANGULAR,
            "median time from publishing to the worker, and from its result to the subscriber",
            f"{_STUDY}: p50 of 45 to 62 ms at low load", Basis.STUDIED,
        ),
        "way_sigma": Unknown(
            0.75, 0.45, 0.85, "sd of the logarithm", Distribution.UNIFORM,
            "how far that time spreads",
            f"{_STUDY}: p99 of 117 to 442 ms at low load, reached by the longest median", Basis.STUDIED,
        ),
        "engine_units_share": Unknown(
            1.0, 0.0, 1.0, "share", Distribution.TRIANGULAR,
            "Streaming Engine's bill, as a part of its legacy price by data, of an at-least-once job",
            "the API's text says units are billed; a report that such a job used none is not verified",
            Basis.ASSUMED,
        ),
    }
)  # fmt: skip
"""By name; all that a draw holds."""
