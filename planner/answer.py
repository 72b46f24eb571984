"""A prediction in words and figures: whether it keeps up, what limits it, and how sure that is."""

from __future__ import annotations

from dataclasses import dataclass

from loadtest.raw_log import Floats
from planner.assembly import PlanError
from planner.bill import Bill, bill
from planner.dual import limits_over_time, needed_replicas, needed_workers, reversals
from planner.prediction import Prediction
from planner.profiles import source_of
from planner.quotas import Demand, advice
from planner.timeline import Limit, bands

# As the objectives of the load lab have it.
KEPT_UP = 0.99
PERCENTILES = (50.0, 95.0, 99.0)
_NEARLY_ALL = 0.95
_LIMITS = {
    Limit.WORKERS: "the workers",
    Limit.ENDPOINT: "the endpoint",
    Limit.QUOTA: "a quota",
}
_OFTEN_TURNED = 4

NOT_IN_IT = (
    "Not in it: the service's own pauses, late or unevenly loaded workers beyond worker_skew, and Pub/Sub's "
    "rarer delays. No published run has workers over time under a ramp: autoscaling is checked on end "
    "states and start times alone."
)


@dataclass(frozen=True)
class Row:
    """One figure.

    Attributes:
        name: Of it.
        unit: Such as "ms".
        central: With all defaults.
        low: P10 of the draws.
        high: P90 of the draws.
        worst: Of all draws.
    """

    name: str
    unit: str
    central: float
    low: float
    high: float
    worst: float


@dataclass(frozen=True)
class Answer:
    """What a person, or a program, is told.

    Attributes:
        prediction: That it is of.
        headline: Whether it keeps up.
        sentences: What limits it, how long that lasts, and what to doubt.
        rows: The figures.
        bill: What it costs.
        keeps_up_share: Of the draws, those in which at least KEPT_UP of what came was answered.
    """

    prediction: Prediction
    headline: str
    sentences: tuple[str, ...]
    rows: tuple[Row, ...]
    bill: Bill
    keeps_up_share: float

    @property
    def worst_ms(self) -> dict[float, float]:
        """Percentiles of the latency in the worst draw, by percent, milliseconds."""
        worst = self.prediction.latencies.percentiles(PERCENTILES).max(axis=1) * 1e3
        return dict(zip(PERCENTILES, worst.tolist(), strict=True))


def answer(prediction: Prediction) -> Answer:
    """Return what is to be told of a prediction.

    Raises:
        PlanError: What it would cost is not known: a machine or a price is missing.
    """
    share = float((prediction.done_share >= KEPT_UP).mean())
    try:
        cost = bill(prediction)
    except (ValueError, LookupError) as error:
        raise PlanError(f"what it costs is not known: {error}") from error
    return Answer(
        prediction,
        _headline(prediction, share),
        tuple(_sentences(prediction)),
        tuple(_rows(prediction)),
        cost,
        share,
    )


def _headline(prediction: Prediction, share: float) -> str:
    what = prediction.question.workload.text
    if prediction.done_share[0] < KEPT_UP:
        done = prediction.done_share[0]
        return f"It does not keep up with {what}: {done:.1%} is answered by the end"
    if share < 1:
        return (
            f"It keeps up with {what} by the defaults, and in {share:.0%} of the draws of what is not known"
        )
    return f"It keeps up with {what}, in every draw of what is not known"


def _sentences(prediction: Prediction) -> list[str]:
    timeline, workload = prediction.timeline, prediction.question.workload
    found = []
    periods = [each for each in limits_over_time(timeline) if each.limit is not Limit.NOBODY]
    if periods:
        held = sum(each.to_s - each.from_s for each in periods)
        by = {each.limit: 0.0 for each in periods}
        for each in periods:
            by[each.limit] += each.to_s - each.from_s
        who = max(by, key=by.__getitem__)
        found.append(
            f"{_LIMITS[who]} hold messages back for {_time(held)} of {_time(workload.duration_s)}, first at "
            f"{_time(periods[0].from_s)}"
        )
        if periods[-1].to_s < timeline.times[-1]:
            found.append(f"it has caught up at {_time(periods[-1].to_s)}")
        else:
            found.append("it has not caught up by the end")
    else:
        found.append("nothing holds messages back by the defaults")
    most = prediction.job.worker.most
    found.append(
        f"a worker ({prediction.shape.machine_type}) does {most:,.0f} messages/s at most: processor time of "
        "the SDK process; the vCPU's share of the service's own process is in the factor"
    )
    if prediction.job.endpoint:
        endpoint, peak = prediction.job.endpoint, workload.peak()
        workers = needed_workers(peak, prediction.job.worker, prediction.job.autoscaler)
        replicas = needed_replicas(peak, endpoint.replica, endpoint.autoscaler)
        found.append(
            f"a replica does {endpoint.replica.most:,.0f} instances/s at most; the peak of {peak:,.0f} "
            f"messages/s needs {workers:,} workers and {replicas:,} replicas at the autoscalers' targets"
        )
    found += _limits_of_services(prediction)
    turned = reversals(timeline["wanted_workers"])
    if turned[0] >= _OFTEN_TURNED:
        found.append(f"the workers' autoscaler turns back {turned[0]:.0f} times")
    return found


def _limits_of_services(prediction: Prediction) -> list[str]:
    """Return which limits of the services the peak breaks, the first first, and how to shard it."""
    question, job = prediction.question, prediction.job
    demand = Demand(
        job.worker.kept_up * job.autoscaler.utilization_hint,
        question.request_bytes,
        question.result_bytes,
        job.endpoint.replica.kept_up if job.endpoint else None,
    )
    return advice(question.workload.peak(), demand)


def _rows(prediction: Prediction) -> list[Row]:
    timeline = prediction.timeline
    latency = prediction.latencies.percentiles(PERCENTILES) * 1e3
    rows = [
        _row(f"latency p{percent:.0f}", "ms", values)
        for percent, values in zip(PERCENTILES, latency, strict=True)
    ]
    rows += [
        _row("answered by the end", "%", 100 * prediction.done_share, least=True),
        _row("workers, mean", "", timeline["workers"].mean(axis=0)),
        _row("workers, most", "", timeline["workers"].max(axis=0)),
        _row("CPU of workers, mean", "%", 100 * timeline["cpu"].mean(axis=0)),
    ]
    if prediction.job.endpoint:
        rows += [
            _row("replicas, mean", "", timeline["replicas"].mean(axis=0)),
            _row("replicas, most", "", timeline["replicas"].max(axis=0)),
            _row("CPU of replicas, mean", "%", 100 * timeline["replica_cpu"].mean(axis=0)),
        ]
    rows.append(_row("backlog, most", "messages", timeline["backlog"].max(axis=0)))
    return rows


def _row(name: str, unit: str, values: Floats, *, least: bool = False) -> Row:
    low, central, high = bands(values)
    extreme = float(values.min() if least else values.max())
    return Row(name, unit, float(central), float(low), float(high), extreme)


def where_from(prediction: Prediction) -> str:
    """Return what profile it is made from, for people."""
    profiled = prediction.question.profiled
    measured = "measured" if profiled.profile.basis == "measured" else "assumed, written by hand"
    told = f"profile: {source_of(profiled.profile, profiled.path)}; {measured}"
    levels = profiled.profile.job.levels if profiled.profile.job else []
    late = sum(not level.valid for level in levels)
    return f"{told}, with a driver that was late at {late} of {len(levels)} rates" if late else told


def _time(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7_200 else f"{seconds / 3_600:.1f} h"
