"""The change to try first for each limit, and what it should bring by a stated formula."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from loadtest.bottleneck.diagnosis import Change, Expectation, Limit
from loadtest.bottleneck.evidence import Evidence
from loadtest.bottleneck.rules import endpoint_limit_full, keeps_up
from loadtest.bottleneck.thresholds import ACHIEVED_LEAST, LIMIT_FULL

Remedy = tuple[Change, Expectation | None]

# What a change is assumed to make of what it acts on: twice as fast, or twice as many.
_TWICE = 2
# Of --max_batch_size: a flag is cheap to try, and the fixed costs shrink with it.
_LARGER = 4
_MOST_CONCURRENCY = 1_000  # the flag's own range ends there


def _driver(e: Evidence) -> Remedy:
    flag = f"--drivers={_TWICE * e.drivers}"
    change = Change((flag,), "let more driver processes send, on processors of their own")
    if e.achieved < ACHIEVED_LEAST:
        sent = e.achieved * e.offered
        value = min(e.offered, _TWICE * sent)
        formula = f"min(offered, {_TWICE} x sent): each driver sends what it sends now"
        return change, Expectation("rate", value, "1/s", sent, at_most=True, formula=formula)
    formula = "latency - delay of the driver"
    value = e.latency_s - e.late_s
    return change, Expectation("latency", value, "s", e.latency_s, at_most=True, formula=formula)


def _capacity(e: Evidence) -> Remedy:
    replicas = _TWICE * max(1, round(e.replicas)) if e.replicas is not None else _TWICE
    change = Change(
        (f"--min-replicas={replicas}",), "give the endpoint twice the replicas, or a larger machine"
    )
    return change, _rate(
        e, _TWICE, f"min(offered, {_TWICE} x answered): each replica answers what it answers now"
    )


def _endpoint(e: Evidence) -> Remedy:
    if endpoint_limit_full(e) and e.endpoint_limit is not None and e.inference_s and e.batch_size:
        processes = e.processes or 1
        needed = e.offered * e.inference_s / e.batch_size / LIMIT_FULL / processes
        concurrency = min(_MOST_CONCURRENCY, max(math.ceil(needed), _TWICE * e.endpoint_limit // processes))
        change = Change((f"--endpoint_max_concurrency={concurrency}",), "allow more calls in flight")
        value = min(e.offered, concurrency * processes * e.batch_size / e.inference_s)
        formula = (
            "min(offered, calls in flight x batch / latency of a call): Little's law, at the same latency"
        )
        return change, Expectation("rate", value, "1/s", e.answered, at_most=True, formula=formula)
    if e.server_s is not None and e.inference_s and e.server_s < e.inference_s / 2:
        text = "bring job and endpoint nearer: most of a call is spent outside the endpoint's own time"
    else:
        text = "give the endpoint a faster model or machine"
    return Change((), text), _sooner(e, e.inference_s, "calls", e.waiting)


def _decode(e: Evidence) -> Remedy:
    text = "make decoding faster: the --decode_hook, or application/x-float32 in place of JSON"
    return Change(_twice_the_workers(e), text), _sooner(e, e.batch_wait_s, "decoding", e.decoding)


def _batching(e: Evidence) -> Remedy:
    # Where the batches are all of one size, nothing is known of the model's part.
    fixed = e.fixed_share if e.fixed_share is not None else e.handing_over
    if fixed is not None and e.batch_limit is not None:
        limit = _LARGER * e.batch_limit
        change = Change((f"--max_batch_size={limit}",), "share a call's fixed costs among more requests")
        factor = 1 / (fixed / _LARGER + 1 - fixed)
        formula = (
            f"answered / (fixed / {_LARGER} + 1 - fixed): "
            "fixed is the share of a batch's time that does not depend on its size"
        )
        return change, _rate(e, factor, formula)
    change = Change(("--max_batch_wait_ms=0",), "let a free model take what is there at once")
    value = e.latency_s - (e.batch_wait_s or 0.0)
    formula = "latency - batch wait"
    return change, Expectation("latency", value, "s", e.latency_s, at_most=True, formula=formula)


def _model(e: Evidence) -> Remedy:
    flags = _twice_the_workers(e) or ("--compile=true",)
    share = None if e.model_calls is None or not e.model_limit else e.model_calls / e.model_limit
    text = "make the model faster: compiled, of a lower precision, on a GPU; or more workers"
    return Change(flags, text), _sooner(e, e.inference_s, "the model", share)


def _broker(e: Evidence) -> Remedy:
    text = "put broker and job nearer to each other, or another broker at PUBSUB_EMULATOR_HOST"
    return Change((), text), _sooner(e, e.rest_s, "publishing and delivery")


def _workers(e: Evidence) -> Remedy:
    flags = _twice_the_workers(e)
    if flags:
        formula = f"min(offered, {_TWICE} x answered): each worker answers what it answers now"
        return Change(flags, "allow more workers"), _rate(e, _TWICE, formula)
    change = Change((), "run a second job on the same subscription, on processors of its own")
    return change, _rate(e, _TWICE, f"min(offered, {_TWICE} x answered): the second job answers as much")


def _nothing(e: Evidence) -> Remedy:
    if keeps_up(e):
        return Change(
            (), "nothing; `./launch.sh loadtest search` finds the rate up to which that holds"
        ), None
    return Change(
        (), "measure longer, with the processor time of job and broker: nothing known stands out"
    ), None


REMEDIES: Mapping[Limit, Callable[[Evidence], Remedy]] = {
    "driver": _driver,
    "broker": _broker,
    "decode": _decode,
    "batching": _batching,
    "model compute": _model,
    "endpoint latency": _endpoint,
    "endpoint capacity (429)": _capacity,
    "workers": _workers,
    "none": _nothing,
}


def _twice_the_workers(e: Evidence) -> tuple[str, ...]:
    workers = e.most_workers or (None if e.workers is None else math.ceil(e.workers))
    return () if workers is None else (f"--max_num_workers={_TWICE * workers}",)


def _rate(e: Evidence, factor: float, formula: str) -> Expectation:
    value = min(e.offered, factor * e.answered)
    return Expectation("rate", value, "1/s", e.answered, at_most=True, formula=formula)


def _sooner(e: Evidence, seconds: float | None, what: str, share: float | None = None) -> Expectation | None:
    """Return what a stage that takes half of its time should bring: a rate to a run that does not keep up.

    Args:
        e: Of the run.
        seconds: The stage's part of the latency.
        what: The stage.
        share: Of the time in which the stage is busy; by default its share of the latency without the queue.
    """
    share = share if share is not None else e.share(seconds)
    if e.growth is not None and e.detectable_growth is not None and e.growth > e.detectable_growth:
        if share is None:
            return None
        formula = f"answered / (1 - share + share / {_TWICE}): Amdahl's law, {what} {_TWICE} times as fast"
        return _rate(e, 1 / (1 - min(1.0, share) * (1 - 1 / _TWICE)), formula)
    if seconds is None:
        return None
    value = e.latency_s - seconds * (1 - 1 / _TWICE)
    formula = f"latency - time / {_TWICE}: {what} {_TWICE} times as fast, the queue as it is"
    return Expectation("latency", value, "s", e.latency_s, at_most=False, formula=formula)
