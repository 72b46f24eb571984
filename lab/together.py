"""What job and endpoint say together: which of the two limits, and what each costs of a request."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson

from lab import words
from lab.found import Found, limit_of
from lab.sharing import Costs, Estimate, Limiting, costs, limiting, number
from loadtest.bottleneck.reading import evidence
from loadtest.endpoint.findings import EndpointReport
from loadtest.report.lead_section import LeadSection
from loadtest.report.tables import Shown
from loadtest.search.answer import Boundary

COMBINED = "combined.json"
TOGETHER = "job"  # the folder of the search of both
_LIMITS: Mapping[Limiting, str] = {
    "endpoint": "The endpoint limits",
    "job": "The job limits",
    "shared cores": "The cores that both share limit, and neither alone",
    "neither": "Neither limits",
}


class CombinedFileError(Exception):
    """A file tells of no job and endpoint together; the message says why, and what to do."""


@dataclass(frozen=True)
class Combined:
    """What was found out.

    Attributes:
        job: Messages a second that the job carries with one container, all on this machine: the confirmed
            rate, and the lowest that fails. None where none was confirmed.
        endpoint: Rows a second that the container carries alone at `rows` a call; None likewise.
        rows: Its best batch size; None where none met the objectives.
        limits: Which of the two limits the job's rate; None where no run failed.
        because: In words.
        costs: Processor time of a message; None where it was not measured.
        workers_per_replica: Workers of this size whose requests fill one replica of this size, by the rates
            measured, of which the job's was got with shared cores; None where one of them is missing.
        cores: Of this machine, which all processes shared.
        ended: Why it ended early; empty where it did not.
    """

    job: Estimate | None
    endpoint: Estimate | None
    rows: int | None
    limits: Limiting | None
    because: list[str]
    costs: Costs | None
    workers_per_replica: Estimate | None
    cores: int | None
    ended: str

    def to_json(self) -> bytes:
        """Return all of it."""
        return orjson.dumps(asdict(self), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)

    @classmethod
    def read(cls, path: Path) -> Combined:
        """Return what a file holds.

        Raises:
            CombinedFileError: It is not one of ours.
        """
        try:
            content = orjson.loads(path.read_bytes())
            for name in ("job", "endpoint", "workers_per_replica"):
                content[name] = _estimate(content[name])
            if spent := content["costs"]:
                parts = {name: _estimate(spent[name]) for name in ("job", "container", "ratio")}
                content["costs"] = Costs(**{**spent, **parts})
            return cls(**content)
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise CombinedFileError(
                f"{path} tells of no job and endpoint together ({error}): measure them again"
            ) from error

    def section(self) -> LeadSection:
        """Return what a page shows of it."""
        told = list(sentences(self))
        limit = "Which of the two limits is not known" if self.limits is None else _LIMITS[self.limits]
        found = not self.ended and self.job is not None and self.endpoint is not None
        return LeadSection(
            "job and endpoint together", "found" if found else "not found", f"{limit}.",
            tuple(f"{text}." for text in told), list(_figures(self)),
        )  # fmt: skip


def combine(found: Found, report: EndpointReport | None) -> Combined:
    """Return what both measurements say together.

    Args:
        found: The search of the job.
        report: Of the container alone; None where it was not come to.
    """
    boundary = found.search.boundaries()[0]
    job = _carried(boundary, 1)
    degradation = report.degradation if report is not None else None
    endpoint = None if degradation is None else _carried(degradation.boundary, degradation.rows)
    limit = limit_of(found)
    limits: Limiting | None = None
    because: list[str] = []
    cores = None
    if limit is not None:
        probed, diagnosis = limit
        seen = evidence(probed.log, *probed.analysis.window)
        limits, because = limiting(diagnosis, seen)
        because = [f"the job's own limit: {diagnosis.limit}", *because]
        cores = seen.cpus
    number = words.by_rate(found.search.history).get(boundary.claim or 0.0)
    confirmed = found.probed.get(number or 0)
    ended = found.ended or ("" if boundary.converged else boundary.convergence_reason)
    if report is None:
        ended = ended or "the container was not measured alone"
    elif report.partial or report.invalid:
        ended = ended or report.partial or "; ".join(report.invalid)
    return Combined(
        job=job,
        endpoint=endpoint,
        rows=None if report is None else report.best,
        limits=limits,
        because=because,
        costs=None if confirmed is None else costs(confirmed.log, *confirmed.analysis.window),
        workers_per_replica=_over(endpoint, job),
        cores=cores,
        ended=ended,
    )


def _carried(boundary: Boundary, rows: int) -> Estimate | None:
    """Return a confirmed rate, requests a second, with the bracket from it to the lowest that fails."""
    if boundary.claim is None:
        return None
    value, fails = rows * boundary.claim, boundary.infeasible_min
    return Estimate(value, "1/s") if fails is None else Estimate(value, "1/s", value, rows * fails)


def _over(above: Estimate | None, below: Estimate | None) -> Estimate | None:
    if above is None or below is None:
        return None
    value = above.value / below.value
    if above.low is None or above.high is None or below.low is None or below.high is None:
        return Estimate(value, "")
    return Estimate(value, "", above.low / below.high, above.high / below.low)


def sentences(combined: Combined) -> Iterator[str]:
    """Yield what was found out, a sentence each."""
    shared = "this machine" if combined.cores is None else f"the {combined.cores} cores of this machine"
    if combined.job is not None:
        yield f"Together: {combined.job} requests/s, job, container, broker and driver on {shared}"
    if combined.endpoint is not None:
        yield f"The container alone: {combined.endpoint} requests/s, at {combined.rows} a call"
    if combined.limits is not None:
        yield f"{_LIMITS[combined.limits]}: {'; '.join(combined.because)}"
    if combined.costs is not None:
        one = combined.costs
        yield (
            f"Processor time of a request, at {one.rate:,.4g}/s: job {one.job}, container {one.container}. "
            f"So a core of replicas wants {one.ratio} cores of workers; sharing cores does not change that "
            "as it does the rates"
        )
    if combined.workers_per_replica is not None:
        yield (
            f"By the rates, one replica takes the requests of {combined.workers_per_replica} such workers; "
            f"the worker's was measured with {shared} shared, so that one with cores of its own sends more"
        )
    if combined.ended:
        yield f"Ended early: {combined.ended}"


def _figures(combined: Combined) -> Iterator[Shown]:
    rates = {"job and container together": combined.job, "the container alone": combined.endpoint}
    for label, carried in rates.items():
        if carried is not None:
            yield _shown(label, carried, "/s", "up to the lowest rate that fails")
    if combined.costs is not None:
        yield _shown("cores of workers for each of replicas", combined.costs.ratio, "", "by processor time")
    if combined.workers_per_replica is not None:
        yield _shown("workers for each replica", combined.workers_per_replica, "", "by rates, cores shared")


def _shown(label: str, estimate: Estimate, unit: str, how: str) -> Shown:
    interval = ""
    if estimate.low is not None and estimate.high is not None:
        interval = f"{number(estimate.low)} – {number(estimate.high)}, "
    return Shown(label, f"{number(estimate.value)}{unit}", f"{interval}{how}", "measured")


def _estimate(content: Mapping[str, float | str | None] | None) -> Estimate | None:
    return None if content is None else Estimate(**content)  # type: ignore[arg-type]
