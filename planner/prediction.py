"""What a job would do with a workload: one worker by the kernel, all of them by the fluid layer."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import NormalDist

import numpy as np

from launch.rules.endpoint import machine_of, replicas_of
from launch.settings.machines import built_in_gpu
from loadtest.raw_log import Floats
from planner import assembly
from planner.assembly import Profiled
from planner.autoscalers.dataflow import DEFAULT_HINT, DEFAULT_MAX_WORKERS, DataflowSettings
from planner.autoscalers.vertex import DEFAULT_PERIOD_S, VertexSettings
from planner.basis import Ground, of_unknowns
from planner.configuration import Configuration
from planner.delays import Latencies, latencies
from planner.draws import Draws, draw
from planner.fluid import Endpoint, Job, simulate
from planner.kernel.worker import EndpointCalls
from planner.mistakes import mistakes
from planner.replica_capacity import replica_capacity
from planner.timeline import Timeline, joined
from planner.unknowns import UNKNOWNS
from planner.worker_capacity import worker_capacity
from planner.workload import Workload

# Of what changes a worker itself, so many values each are taken, the first its default: a worker is simulated
# for each.
VARIANTS = 5
DEFAULT_DRAWS = 25
_OF_WORKER = ("core_factor", "look_s")
_OF_WAY = ("way_s", "way_sigma")
# Steps of a run: fine enough for a burst of seconds, few enough for an answer in seconds.
_STEPS, _FINEST_S, _COARSEST_S, _STEPS_OF_RECORD, _LONGEST_RECORD_S = 3_600, 0.1, 2.5, 5, 5.0
_MESSAGES = 4_000
_AT_LEAST = 1e-6


@dataclass(frozen=True)
class Question:
    """What is asked.

    Attributes:
        workload: What arrives.
        configuration: What is to be launched.
        profiled: What job and model cost where they were measured.
        draws: Of what is not published; rounded up to a multiple of VARIANTS.
        seed: Of all that is random; the same one gives the same prediction, bit by bit.
        known: Values of unknowns that the user knows, by name.
        running: Whether the job is up, with its initial workers, when the workload begins; else it is
            launched then.
        request_bytes: Of a request's body and attributes.
        result_bytes: Of a result's.
        committed_years: Of a commitment, 1 or 3; 0 without.
    """

    workload: Workload
    configuration: Configuration
    profiled: Profiled
    draws: int = DEFAULT_DRAWS
    seed: int = 1
    known: dict[str, float] = field(default_factory=dict)
    running: bool = True
    request_bytes: int = 400
    result_bytes: int = 500
    committed_years: int = 0


@dataclass(frozen=True, eq=False)
class Prediction:
    """What would happen.

    Attributes:
        question: That it answers.
        shape: Machine of a worker.
        job: With the central worker, and the central replica.
        draws: Of what is not published, as taken.
        timeline: Everything over time, in every draw; draw 0 has all defaults.
        latencies: From publishing to the result, in every draw.
        grounds: What it rests on.
        mistakes: Settings that cannot do what they are there for.
    """

    question: Question
    shape: assembly.Shape
    job: Job
    draws: Draws
    timeline: Timeline
    latencies: Latencies
    grounds: tuple[Ground, ...]
    mistakes: tuple[str, ...]

    @property
    def done_share(self) -> Floats:
        """[draws] of what came, the part that was answered by the end."""
        came = self.timeline.arrived[-1].sum(axis=1)
        return np.asarray(1 - self.timeline.unserved / np.maximum(came, _AT_LEAST))


def predict(question: Question) -> Prediction:
    """Return what would happen.

    Raises:
        PlanError: There is nothing to predict from.
        ProfileError: The profile lacks job or endpoint.
        ValueError: A machine type is not known, or a known value has no unknown.
    """
    count = -(-question.draws // VARIANTS) * VARIANTS
    drawn = _with_variants(draw(count, question.seed, question.known), question)
    step_s = min(max(question.workload.duration_s / _STEPS, _FINEST_S), _COARSEST_S)
    record_s = min(step_s * _STEPS_OF_RECORD, _LONGEST_RECORD_S)
    jobs, timelines, sampled = [], [], []
    # Draw 0 is of variant 0; the draws of a variant stand together.
    order = [np.arange(variant, count, VARIANTS) for variant in range(VARIANTS)]
    for which in order:
        part = drawn.chosen(which.tolist())
        job = job_of(question, float(part["core_factor"][0]), float(part["look_s"][0]))
        timeline = simulate(question.workload, job, part, step_s, record_s)
        jobs.append(job)
        timelines.append(timeline)
        sampled.append(latencies(timeline, job, _MESSAGES, question.seed))
    together = drawn.chosen(np.concatenate(order).tolist())
    grounds = assembly.grounds(question.configuration, question.profiled)
    return Prediction(
        question,
        assembly.shape(question.configuration),
        jobs[0],
        together,
        joined(timelines),
        _with_way(sampled, together, question.seed),
        (*grounds, *of_unknowns(_unknowns(question), together)),
        tuple(mistakes(jobs[0])),
    )


def _with_variants(drawn: Draws, question: Question) -> Draws:
    """Return draws in which what changes a worker has VARIANTS values, in turn: default and quantiles.

    The quantiles of one go up as those of the next do not, so that neither hides the other.
    """
    many = draw(1_000, question.seed, question.known)
    values = {}
    for number, name in enumerate(_OF_WORKER):
        spread = np.percentile(many[name], [10.0, 35.0, 65.0, 90.0])
        # Of the first 10, 35, 65, 90; of the second 65, 10, 90, 35.
        spread = spread if number == 0 else spread[[2, 0, 3, 1]]
        taken = np.concatenate([many[name][:1], spread])
        values[name] = np.resize(taken, drawn.count)
    return drawn.with_values(values)


def job_of(question: Question, core_factor: float, look_s: float = UNKNOWNS["look_s"].default) -> Job:
    """Return the job as the fluid layer has it, with a vCPU of some speed.

    Raises:
        PlanError: There is nothing to predict from.
        ProfileError: The profile lacks job or endpoint.
    """
    configuration, profiled = question.configuration, question.profiled
    worker = assembly.worker(configuration, profiled, core_factor, look_s)
    capacity = worker_capacity(worker, question.seed)
    endpoint = None
    if configuration.endpoint:
        assert isinstance(worker.model, EndpointCalls)  # as its configuration has an endpoint
        replica = assembly.replica(configuration, profiled, core_factor)
        rows = _rows(question, worker.model)
        served = replica_capacity(replica, rows, question.seed)
        endpoint = Endpoint(served, _vertex(configuration, rows), deployed=True)
    return Job(capacity, _dataflow(configuration), endpoint, running=question.running)


def _rows(question: Question, calls: EndpointCalls) -> int:
    """Return the instances of a call: what has come to a worker since the service last looked."""
    workers = _dataflow(question.configuration).initial
    look_s = question.known.get("look_s", UNKNOWNS["look_s"].default)
    come = question.workload.peak() / workers * look_s
    return int(min(max(round(come), 1), calls.batch_size))


def _dataflow(configuration: Configuration) -> DataflowSettings:
    run, made = configuration.run, assembly.shape(configuration)
    hint = run.utilization_hint
    return DataflowSettings(
        min_workers=run.min_workers or 1,
        max_workers=run.max_workers or DEFAULT_MAX_WORKERS,
        num_workers=run.num_workers,
        utilization_hint=hint if isinstance(hint, float) else DEFAULT_HINT,
        parallelism_hint=configuration.options.max_active_bundles_per_worker,
        bundle_threads=made.threads,
        gpu=run.gpu is not None,
    )


def _vertex(configuration: Configuration, rows: int) -> VertexSettings:
    settings = configuration.endpoint
    assert settings is not None  # as there is an endpoint
    fewest, most = replicas_of(settings)
    return VertexSettings(
        min_replicas=fewest,
        max_replicas=most,
        scaling_metric=settings.scaling_metric or {},
        gpu=(settings.endpoint_gpu or built_in_gpu(machine_of(settings))) is not None,
        scale_to_zero=settings.scale_to_zero,
        initial_replicas=settings.initial_replicas or 1,
        min_scaleup_s=settings.min_scaleup_s or DEFAULT_PERIOD_S,
        idle_scaledown_s=settings.idle_scaledown_s or DEFAULT_PERIOD_S,
        instances_per_call=float(rows),
    )


def _with_way(parts: list[Latencies], draws: Draws, seed: int) -> Latencies:
    """Return the latencies of all draws, with the time outside the worker, which is lognormal."""
    seconds = np.concatenate([part.seconds for part in parts])
    messages = seconds.shape[1]
    normal = NormalDist()
    z = np.array([normal.inv_cdf((number + 0.5) / messages) for number in range(messages)])
    z = np.random.default_rng([seed, messages, 7]).permutation(z)
    way = draws["way_s"][:, None] * np.exp(draws["way_sigma"][:, None] * z)
    return Latencies(
        np.concatenate([part.arrived_s for part in parts]),
        seconds + way,
        np.concatenate([part.unanswered for part in parts]),
    )


_OF_WORKERS = (
    "decision_period_s", "stable_for_s", "backlog_trigger_s", "clear_backlog_in_s", "cpu_floor", "damping",
    "worker_start_spread", "worker_skew",
)  # fmt: skip
_OF_REPLICAS = ("replica_change_s", "replica_tolerance", "replica_metric_lag_s")


def _unknowns(question: Question) -> list[str]:
    """Return the names of the unknowns that have a part in it."""
    found = [*_OF_WORKER, *_OF_WAY]
    settings = _dataflow(question.configuration)
    if not question.running:
        found.append("job_start_s")
    if settings.min_workers < settings.max_workers:
        found += [*_OF_WORKERS, "gpu_worker_start_s" if settings.gpu else "worker_start_s"]
    else:
        found.append("worker_skew")
    if question.configuration.endpoint:
        found += _OF_REPLICAS
    return found
