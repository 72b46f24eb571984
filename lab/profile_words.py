"""A profile in sentences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from loadtest.profile.profile import EndpointProfile, JobProfile, Law, Level, Profile, Quantity


def profile_lines(profile: Profile) -> Iterator[str]:
    """Yield a sentence for each law, with its interval, and one for what could not be measured."""
    machine = profile.machine
    yield f"{profile.basis} on {machine.cpu}, {machine.cores} cores, {profile.measured_at}"
    if profile.partial is not None:
        yield f"partial: {profile.partial}"
    if profile.job is not None:
        yield from _job(profile.job)
    if profile.endpoint is not None:
        yield from _endpoint(profile.endpoint)


def _job(job: JobProfile) -> Iterator[str]:
    what = "a call of the model" if job.mode == "local" else "a call of the endpoint, as the job sees it,"
    yield f"job: {what} takes {_law(job.service, 'request')}"
    if job.decode is not None:
        each, batch = job.decode.b, job.decode.a
        untold = _untold(job.decode, {"a": "the hand-over", "b": "the decoding"})
        yield f"  decoding a request: {_quantity(each)}; handing a batch over: {_quantity(batch)}{untold}"
    if job.rest is not None:
        yield f"  encoding, publishing, reading after a batch: {_law(job.rest, 'request')}"
    if job.processor is not None:
        yield f"  processor time of the job: {_law(job.processor, 'request')}"
    if job.idle_cores is not None:
        yield f"  and {_quantity(job.idle_cores)} without messages"
    for level in job.levels:
        latency = ", ".join(f"{name} {ms:,.3g} ms" for name, ms in level.latency_ms.items())
        doubt = "" if level.valid else "; the driver was late"
        yield (
            f"  {level.offered:,.5g}/s offered, {level.answered:,.5g}/s answered, batches of "
            f"{level.batch_size:.3g}; {latency}{_calls(level)}{doubt}"
        )
    yield from (f"  {name}: {why}" for name, why in job.notes.items())


def _endpoint(endpoint: EndpointProfile) -> Iterator[str]:
    yield f"endpoint {endpoint.url}: a call takes {_law(endpoint.service, 'row')}"
    if endpoint.connect_ms is not None:
        yield f"  a new connection: {_quantity(endpoint.connect_ms)}"
    if endpoint.overhead_ms is not None:
        yield f"  outside the server's own time: {_quantity(endpoint.overhead_ms)}"
    if endpoint.processor is not None:
        yield f"  processor time of the container: {_law(endpoint.processor, 'row')}"
    for one in endpoint.at_once:
        least = "at least " if one.driver_limited else ""
        rate = f"{least}{one.rate:,.4g} calls/s"
        yield f"  {one.at_once} at once, {one.rows} rows: {rate}, p50 {one.p50_ms:.3g} ms"
    yield from (f"  {name}: {why}" for name, why in endpoint.notes.items())


def _law(law: Law, of: str) -> str:
    seen = f"{law.smallest:.3g} to {law.largest:.3g}; furthest off {law.worst_residual:+.0%}"
    untold = _untold(law, {"a": "the fixed part", "b": f"the part of each {of}"})
    return f"{_quantity(law.a)} + {_quantity(law.b)} a {of} ({seen}){untold}"


def _untold(law: Law, parts: Mapping[str, str]) -> str:
    named = " and ".join(parts[name] for name in law.not_told)
    return f"; {named} cannot be told from 0" if named else ""


def _calls(level: Level) -> str:
    return "" if level.service_ratio is None else f"; calls take {level.service_ratio:.2g} x the law"


def _quantity(one: Quantity) -> str:
    interval = "" if one.low is None or one.high is None else f" ({one.low:.3g} to {one.high:.3g})"
    return f"{one.value:.3g}{interval} {one.unit}"
