"""A worker out of profile.json: what was measured of a job here, or of an endpoint, in the kernel's words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from loadtest.bottleneck.job_flags import limits
from loadtest.profile.profile import JobProfile, Law, Profile
from planner.kernel.worker import (
    LOCAL_ENGINE,
    AcrossBundles,
    Bundles,
    BundleWork,
    Device,
    EndpointCalls,
    ModelInWorker,
    OnCpu,
    Worker,
)
from planner.law import ServiceLaw, of_profile

# Of what a bundle's thread does after its last encoding, the part until its results are accepted: not
# measured apart from the commit. Assumed.
_PUBLISH_SHARE = 0.5


class NotInProfileError(Exception):
    """The profile lacks what a worker needs; the message says what, and what to do."""


@dataclass(frozen=True)
class ProfiledWorker:
    """A worker, and what is known of it.

    Attributes:
        worker: At its figures' own values.
        law: Of a call, with ranges.
        assumed: What was not measured, in words.
    """

    worker: Worker
    law: ServiceLaw
    assumed: tuple[str, ...]


def profiled_worker(
    profile: Profile,
    source: str,
    *,
    vcpus: float,
    bundles: Bundles = LOCAL_ENGINE,
    processes: int = 1,
    device: Device | None = None,
) -> ProfiledWorker:
    """Return the worker that a profile's job runs on.

    Args:
        profile: Has a job.
        source: The profile's path, for what says where figures are from.
        vcpus: Of the worker.
        bundles: How messages become bundles; as off Dataflow, where the profile was made.
        processes: Of the worker.
        device: Where its model computes; None: on one core of its CPU.

    Raises:
        NotInProfileError: The profile has no job.
    """
    job = profile.job
    if job is None:
        raise NotInProfileError(
            f"{source} is of an endpoint alone: make one of a job with ./launch.sh loadtest profile"
        )
    described = f"{source}, {profile.measured_at}, {profile.machine.cpu}"
    law = of_profile(job.service, profile.basis, described, job.levels)
    flags = limits(job.flags)
    assumed = ["half of a bundle's time after its last encoding is until its results are accepted"]
    assumed += [f"{name} is not in the profile, and taken as nothing" for name in _missing(job)]
    if job.mode == "endpoint":
        assumed.append("the endpoint serves as many calls at once as the job makes")
        model: ModelInWorker | EndpointCalls = EndpointCalls(
            law.likeliest,
            batch_size=flags.batch,
            max_concurrency=flags.concurrency,
            at_once=float(flags.concurrency),
        )
    else:
        model = ModelInWorker(law.likeliest, AcrossBundles(flags.batch), device or OnCpu())
    worker = Worker(vcpus, model, _work(job.decode, job.rest), bundles, processes)
    return ProfiledWorker(worker, law, tuple(assumed))


def _missing(job: JobProfile) -> list[Literal["decode", "rest"]]:
    laws: tuple[tuple[Literal["decode", "rest"], Law | None], ...] = (
        ("decode", job.decode),
        ("rest", job.rest),
    )
    return [name for name, law in laws if law is None]


def _work(decode: Law | None, rest: Law | None) -> BundleWork:
    """Return what a bundle costs beside its calls.

    `decode.a` is of each batch's hand-over, `decode.b` of each request. `rest` is of each call: what follows
    it until the next batch is decoded. Where a rate fills no second batch, that is once a bundle.
    """
    after_s = 0.0 if rest is None else max(0.0, rest.a.value) / 1e3
    return BundleWork(
        decode_s=0.0 if decode is None else max(0.0, decode.b.value) / 1e3,
        batch_s=0.0 if decode is None else max(0.0, decode.a.value) / 1e3,
        encode_s=0.0 if rest is None else max(0.0, rest.b.value) / 1e3,
        publish_s=_PUBLISH_SHARE * after_s,
        commit_s=(1 - _PUBLISH_SHARE) * after_s,
    )
