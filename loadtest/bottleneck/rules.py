"""The rules by which a limit is named: a table in order, of which the first that holds wins."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from loadtest.bottleneck.diagnosis import Fact, Limit, Relation
from loadtest.bottleneck.evidence import Evidence
from loadtest.bottleneck.thresholds import (
    ACHIEVED_LEAST,
    BUSY,
    DOMINANT,
    LATE_S,
    LIMIT_FULL,
    ONE_CORE,
    REFUSED,
    THROTTLED,
)

Facts = tuple[Fact, ...]

_MODEL_SHARE = "share of the time in which the model computes"
_UTILISATION = "utilisation of the workers' processors"


@dataclass(frozen=True)
class Rule:
    """One row of the table.

    Attributes:
        limit: What it names.
        facts: Returns the deciding facts where the rule holds, else nothing.
        here: Why it stands before those after it.
    """

    limit: Limit
    facts: Callable[[Evidence], Facts]
    here: str


def compare(what: str, value: float | None, unit: str, relation: Relation, bound: float | None) -> Facts:
    """Return the one fact if a figure stands so to its bound, else none, as where it is not known."""
    if value is None or bound is None:
        return ()
    holds = {
        "at least": value >= bound,
        "above": value > bound,
        "below": value < bound,
        "at most": value <= bound,
    }[relation]
    return (Fact(what, value, unit, relation, bound),) if holds else ()


def all_of(*parts: Facts) -> Facts:
    """Return the facts of all parts, none if a part has none."""
    return tuple(fact for part in parts for fact in part) if all(parts) else ()


def any_of(*parts: Facts) -> Facts:
    """Return the facts of those parts that have any."""
    return tuple(fact for part in parts for fact in part)


def _behind_schedule(e: Evidence) -> Facts:
    late = all_of(
        compare("delay of the driver, mean", e.late_s, "s", "above", LATE_S),
        compare("its share of the latency", _over(e.late_s, e.latency_s), "1", "at least", DOMINANT),
    )
    return any_of(
        compare("share of the schedule that was sent", e.achieved, "1", "below", ACHIEVED_LEAST), late
    )


def keeps_up(e: Evidence) -> Facts:
    """Return growth and latency if no growth of the backlog can be told, and answers come soon."""
    return all_of(
        compare("growth of the backlog over the rate", e.growth, "1", "at most", e.detectable_growth),
        compare("latency, mean", e.latency_s, "s", "at most", e.latency_limit_s),
    )


def _throttled(e: Evidence) -> Facts:
    return compare(
        "share of the wait for the endpoint that was throttled", e.throttled, "1", "at least", THROTTLED
    )


def _refused(e: Evidence) -> Facts:
    # Without the job's own account of its waits there are the endpoint's answers alone.
    if e.throttled is not None or not e.endpoint_calls:
        return ()
    bound = REFUSED / (e.endpoint_calls / e.processes) ** 2 if e.processes else THROTTLED
    what = "share of the endpoint's answers that it is full"
    return compare(what, e.refused, "1", "at least", min(bound, THROTTLED))


def _decoding(e: Evidence) -> Facts:
    return compare(
        "share of the bundle thread's time that is decoding", e.decoding, "1", "at least", DOMINANT
    )


def _slow_decoding(e: Evidence) -> Facts:
    # One bundle at a time, and no endpoint whose slots it waits for: none of it is a wait.
    if e.decoding is None:
        return ()
    return _largest("batch wait, here decoding alone", e.batch_wait_s, e)


def _decoding_keeps_cores_busy(e: Evidence) -> Facts:
    # The model of a job keeps processors busy, too, and batches wait for it: that it does not must be known.
    if e.endpoint_calls is None and e.model_limit is None:
        return ()
    return all_of(_largest("batch wait", e.batch_wait_s, e), _processors_busy(e))


def _small_batches(e: Evidence) -> Facts:
    # A local job's batches are as large as its backlog lets them be, up to the limit.
    full = None if e.batch_limit is None else LIMIT_FULL * e.batch_limit
    return all_of(
        _model_busy(e),
        compare(
            "requests in a batch, mean", e.batch_size, "1", "at least", full if e.bundles_limit == 1 else 1.0
        ),
        compare(
            "share of a model call that does not depend on its size", e.fixed_share, "1", "at least", DOMINANT
        ),
    )


def _batches_handed_over(e: Evidence) -> Facts:
    full = None if e.batch_limit is None else LIMIT_FULL * e.batch_limit
    what = "share of the bundle thread's time that is handing batches over"
    return all_of(
        compare(what, e.handing_over, "1", "at least", DOMINANT),
        compare("requests in a batch, mean", e.batch_size, "1", "at least", full),
    )


def _model_busy(e: Evidence) -> Facts:
    busy = _over(e.model_calls, e.model_limit)
    bound = DOMINANT if e.bundles_limit == 1 else BUSY
    return compare(_MODEL_SHARE, busy, "1", "at least", bound)


def _slow_model(e: Evidence) -> Facts:
    return all_of(
        _known("calls of the model at once, mean", e.model_calls), _largest("model call", e.inference_s, e)
    )


def _waits_for_batches(e: Evidence) -> Facts:
    if e.bundles_limit == 1:
        return ()
    return all_of(
        _largest("batch wait", e.batch_wait_s, e),
        compare(_MODEL_SHARE, _over(e.model_calls, e.model_limit), "1", "below", BUSY),
        compare(_UTILISATION, e.worker_utilisation, "1", "below", BUSY),
    )


def _waits_for_endpoint(e: Evidence) -> Facts:
    return compare(
        "share of the bundle thread's time that is waiting for the endpoint",
        e.waiting,
        "1",
        "at least",
        DOMINANT,
    )


def endpoint_limit_full(e: Evidence) -> Facts:
    """Return the calls in flight if they are as many as the concurrency limit lets there be.

    By Little's law they are their rate times their latency. Bundles that take turns wait until the last of
    their calls has returned: of k calls that start together and take exponential times,
    1 / (1 + 1/2 + … + 1/k) are in flight on average.
    """
    limit = e.endpoint_limit
    if limit is None:
        return ()
    full = limit * (1 / sum(1 / k for k in range(1, limit + 1)) if e.bundles_limit == 1 else LIMIT_FULL)
    return compare("calls of the endpoint in flight, mean", e.endpoint_calls, "1", "at least", full)


def _full_endpoint(e: Evidence) -> Facts:
    # A local job's calls are full of starts and ends of bundles: there, the thread's own time tells more.
    return () if e.bundles_limit == 1 else endpoint_limit_full(e)


def _slow_endpoint(e: Evidence) -> Facts:
    return all_of(
        _known("calls of the endpoint in flight, mean", e.endpoint_calls),
        _largest("call of the endpoint", e.inference_s, e),
    )


def _broker_busy(e: Evidence) -> Facts:
    return compare("processor time of the broker", e.broker_cores, "cores", "at least", ONE_CORE)


def _processors_busy(e: Evidence) -> Facts:
    # A job in the cloud has many processes, of which the service tells the utilisation of all.
    if e.worker_utilisation is not None:
        return compare(_UTILISATION, e.worker_utilisation, "1", "at least", BUSY)
    return compare("processor time of the job", e.job_cores, "cores", "at least", ONE_CORE)


def _machine_busy(e: Evidence) -> Facts:
    parts = [e.job_cores, e.broker_cores, e.driver_cores, e.container_cores]
    known = [cores for cores in parts if cores is not None]
    used = sum(known) if e.job_cores is not None else None
    full = None if e.cpus is None else BUSY * e.cpus
    return compare("processor time of all processes of the run", used, "cores", "at least", full)


def _too_few_workers(e: Evidence) -> Facts:
    return any_of(
        all_of(
            compare("workers that the autoscaler wants", e.target_workers, "1", "above", e.workers),
            compare("growth of the backlog over the rate", e.growth, "1", "above", e.detectable_growth),
        ),
        all_of(
            compare("workers", e.workers, "1", "at least", e.most_workers),
            compare("reasons of the autoscaler to want more", e.upscale_decisions, "1", "at least", 1),
        ),
    )


def _slow_broker(e: Evidence) -> Facts:
    return _largest("publishing and delivery", e.rest_s, e)


def _unexplained(e: Evidence) -> Facts:
    return (
        Fact("latency, mean", e.latency_s, "s", None, e.latency_limit_s),
        *(() if e.growth is None else (Fact("growth of the backlog over the rate", e.growth, "1"),)),
    )


def _largest(stage: str, seconds: float | None, e: Evidence) -> Facts:
    what = f"share of the latency without queue: {stage}"
    return compare(what, e.share(seconds), "1", "at least", DOMINANT)


def _known(what: str, value: float | None) -> Facts:
    return () if value is None else (Fact(what, value, "1"),)


def _over(value: float | None, whole: float | None) -> float | None:
    return None if value is None or not whole else value / whole


RULES: tuple[Rule, ...] = (
    Rule("driver", _behind_schedule, "all other figures are of a load that nobody asked for"),
    Rule("none", keeps_up, "a run that keeps up and answers soon has no limit, however busy a part of it is"),
    Rule("endpoint capacity (429)", _throttled, "pauses between attempts lengthen the calls"),
    Rule("endpoint capacity (429)", _refused, "the same, where the job does not tell its pauses"),
    Rule(
        "decode", _decoding, "results wait for the decoding of the rest of their bundle: `rest` holds it, too"
    ),
    Rule("batching", _small_batches, "a model that is busy with its fixed costs needs no faster model"),
    Rule(
        "model compute", _model_busy, "results wait for the other batches of their bundle: `rest` holds them"
    ),
    Rule("batching", _batches_handed_over, "with decoding and the model: at most one has half of the time"),
    Rule(
        "endpoint latency",
        _waits_for_endpoint,
        "results wait for the other calls of their bundle",
    ),
    Rule("endpoint latency", _full_endpoint, "calls that wait for a slot lengthen the batch wait"),
    Rule("decode", _slow_decoding, "with the stages below: at most one has half of the latency"),
    Rule(
        "decode", _decoding_keeps_cores_busy, "a batch wait with busy processors is no wait for other bundles"
    ),
    Rule("batching", _waits_for_batches, "a batch wait with idle processors and an idle model"),
    Rule("model compute", _slow_model, "with the stages above"),
    Rule("endpoint latency", _slow_endpoint, "with the stages above"),
    Rule("broker", _broker_busy, "it is one process, in which the job's publishing waits, too"),
    Rule("workers", _too_few_workers, "the service itself says so"),
    Rule("workers", _processors_busy, "no stage has half of the time: the process as a whole is too slow"),
    Rule("workers", _machine_busy, "the processes hold each other up"),
    Rule("broker", _slow_broker, "last, as `rest` is what the others leave over"),
    Rule("none", _unexplained, "nothing that is known stands out"),
)
