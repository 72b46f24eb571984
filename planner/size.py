"""The cheapest configuration that meets objectives: a formula prunes, the simulation verifies."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from launch.rules.endpoint import replicas_of
from launch.settings.setting import SettingsError
from loadtest.search.objectives import Objective
from planner import assembly
from planner.answer import KEPT_UP, Answer, answer
from planner.configuration import Configuration
from planner.cost.amount import Amount, exactly
from planner.cost.prices import read_prices
from planner.cost.run_cost import WorkerShape, workers_cost
from planner.draws import draw
from planner.prediction import Question, job_of, predict

# Machines that are compared where none is asked for: families with a measured or stated speed of a vCPU.
# Dataflow charges a vCPU of all of them alike.
MACHINES = (
    "n1-standard-2",
    "n1-standard-4",
    "e2-standard-2",
    "n2-standard-2",
    "n2-standard-4",
    "c2-standard-4",
)
# Candidates that are simulated at most.
_MOST = 16
# Shown beyond the cheapest that meets it.
_DEARER = 2
# By the formula a worker is to be no fuller than this, or a burst has no room.
_FILLED = 0.8
PERCENTS = {"p50": 50.0, "p95": 95.0, "p99": 99.0}


@dataclass(frozen=True)
class Tried:
    """A configuration that was looked at.

    Attributes:
        configuration: The settings.
        answer: What it would do; None where the formula ruled it out.
        why_not: Why it does not meet the objectives; empty where it does.
        estimate: About what its workers cost, by which candidates are taken in turn.
    """

    configuration: Configuration
    answer: Answer | None
    why_not: str
    estimate: Amount

    def costs_less(self, other: Tried) -> bool:
        """Return whether it costs less than another one: as predicted, where both were."""
        if self.answer and other.answer:
            return self.answer.bill.hour < other.answer.bill.hour
        return self.estimate < other.estimate


@dataclass(frozen=True)
class Sized:
    """What was found.

    Attributes:
        best: The cheapest that meets the objectives; None where none does.
        dearer: Others that meet them, by cost.
        cheaper: Those that cost less and do not, the dearest first; without a best, all.
        simulated: How many were simulated.
    """

    best: Tried | None
    dearer: tuple[Tried, ...]
    cheaper: tuple[Tried, ...]
    simulated: int


def size(
    configuration: Configuration, ask: Callable[[Configuration], Question], objectives: Sequence[Objective]
) -> Sized:
    """Return the cheapest configuration that meets objectives in every draw of what is not known.

    Args:
        configuration: What is given stays; machine, range of workers and of replicas that are not, are found.
        ask: Makes the question of a configuration.
        objectives: Of latency percentiles. That 99 % is answered is always one.
    """
    candidates = sorted(_candidates(configuration, ask), key=lambda each: each.estimate)
    met: list[Tried] = []
    failed: list[Tried] = []
    simulated = 0
    for candidate in candidates:
        if candidate.ruled_out:
            failed.append(Tried(candidate.configuration, None, candidate.ruled_out, candidate.estimate))
            continue
        if simulated == _MOST or len(met) > _DEARER:
            break
        simulated += 1
        found = answer(predict(ask(candidate.configuration)))
        why_not = missed(found, objectives)
        tried = Tried(candidate.configuration, found, why_not, candidate.estimate)
        (failed if why_not else met).append(tried)
    met.sort(key=_Cost)
    if not met:
        return Sized(None, (), tuple(reversed(failed)), simulated)
    cheaper = [each for each in reversed(failed) if each.costs_less(met[0])]
    return Sized(met[0], tuple(met[1:]), tuple(cheaper), simulated)


def missed(found: Answer, objectives: Sequence[Objective]) -> str:
    """Return which objectives a prediction misses in its worst draw; empty where it meets all."""
    worst = found.worst_ms
    reasons = []
    if found.keeps_up_share < 1:
        share = float(found.prediction.done_share.min())
        reasons.append(
            f"it keeps up in {found.keeps_up_share:.0%} of the draws; in the worst, {share:.1%} is answered"
        )
    for objective in objectives:
        value_ms = worst[PERCENTS[objective.metric]]
        limit_ms = objective.limit * 1e3
        if not (value_ms < limit_ms or (objective.comparison == "<=" and value_ms == limit_ms)):
            reasons.append(f"{objective.metric} is {value_ms:,.0f} ms in the worst draw")
    return "; ".join(reasons)


class _Cost:
    """Orders what was simulated by its cost."""

    def __init__(self, tried: Tried) -> None:
        assert tried.answer is not None  # as it was simulated
        self._hour = tried.answer.bill.hour

    def __lt__(self, other: _Cost) -> bool:
        return self._hour < other._hour


@dataclass(frozen=True)
class _Candidate:
    configuration: Configuration
    estimate: Amount
    ruled_out: str


def _candidates(
    configuration: Configuration, ask: Callable[[Configuration], Question]
) -> Iterator[_Candidate]:
    given = configuration.given
    chosen = [""] if "--machine-type" in given or "--gpu" in given else list(MACHINES)
    for name in chosen:
        changed = configuration.changed(machine_type=name) if name else configuration
        yield from _ranges(changed, ask)


def _ranges(configuration: Configuration, ask: Callable[[Configuration], Question]) -> Iterator[_Candidate]:
    """Yield ranges of workers, and of replicas, about what the peak needs of the slowest worker."""
    question = ask(configuration)
    workload = question.workload
    peak = workload.peak()
    mean = float(workload.arrived(np.array([workload.duration_s]))[0]) / workload.duration_s
    slowest = float(draw(1_000, question.seed, question.known)["core_factor"].max())
    job = job_of(question, slowest)
    made = assembly.shape(configuration)
    most = max(math.ceil(peak / (_FILLED * job.worker.most)), 1)
    fewest = max(math.ceil(mean / (_FILLED * job.worker.most)), 1)
    pairs = sorted({(1, most), (fewest, most), (most, most), (most + 1, most + 1), (1, most + 1)})
    if most > 1:
        pairs.insert(0, (most - 1, most - 1))
    replicas: Sequence[tuple[int, int] | None] = [None]
    if job.endpoint and configuration.endpoint and not _given(configuration, "min-replicas", "max-replicas"):
        needed = max(math.ceil(peak / (_FILLED * job.endpoint.replica.most)), 1)
        replicas = sorted({(needed, needed), (1, needed), (needed, needed + 1), (needed + 1, needed + 1)})
    for low, high in pairs:
        texts = {} if _given(configuration, "min-workers", "max-workers") else _workers(low, high)
        for pair in replicas:
            more = {} if pair is None else {"min_replicas": str(pair[0]), "max_replicas": str(pair[1])}
            try:
                changed = configuration.changed(**texts, **more)
            except SettingsError:
                continue  # what was given, such as --num-workers, does not go with this range
            run = changed.run
            count = min(max(run.min_workers or 1, fewest), run.max_workers or high)
            yield _Candidate(
                changed,
                _estimate(
                    count + (replicas_of(changed.endpoint)[0] if changed.endpoint else 0), made, changed
                ),
                _ruled_out(run.max_workers or high, job.worker.most, mean),
            )
        if not texts:
            return


def _workers(low: int, high: int) -> dict[str, str]:
    return {"min_workers": str(low), "max_workers": str(high)}


def _given(configuration: Configuration, *names: str) -> bool:
    return any(f"--{name}" in configuration.given for name in names)


def _estimate(count: int, made: assembly.Shape, configuration: Configuration) -> Amount:
    """Return about what an hour costs, to begin with what may be cheapest."""
    shape = WorkerShape(made.machine_type, configuration.run.gpu)
    return workers_cost(exactly(count), shape, read_prices())


def _ruled_out(most_workers: int, each: float, mean: float) -> str:
    """Return why so many workers cannot do it, by arithmetic alone; empty where they may."""
    able = most_workers * each
    if able >= KEPT_UP * mean:
        return ""
    return (
        f"{most_workers} workers do {able:,.0f} messages/s with the slowest vCPU of the range, and "
        f"{mean:,.0f} come"
    )
