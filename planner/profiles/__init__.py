"""Profiles that are part of the planner: of the bundled job, for whoever has measured nothing yet."""

from __future__ import annotations

from pathlib import Path

from loadtest.profile.profile import EndpointProfile, JobProfile, Profile, ProfileError, read
from planner.law import ServiceLaw, of_profile

BUNDLED = Path(__file__).parent / "bundled.json"
"""Of the bundled job with its model in the worker."""
BUNDLED_ENDPOINT = Path(__file__).parent / "bundled_endpoint.json"
"""Of the bundled job with the container."""


def bundled_job() -> JobProfile:
    """Return the bundled job's own profile, by which the cost of a bundle on Dataflow was measured."""
    return job_of(read(BUNDLED), BUNDLED)


def job_of(profile: Profile, path: Path) -> JobProfile:
    """Return the job of a profile.

    Raises:
        ProfileError: It has none.
    """
    if profile.job is None:
        raise ProfileError(f"{path} is of an endpoint alone: make one of a job, ./launch.sh loadtest profile")
    return profile.job


def endpoint_of(profile: Profile, path: Path) -> EndpointProfile:
    """Return the endpoint of a profile.

    Raises:
        ProfileError: It has none.
    """
    if profile.endpoint is None:
        raise ProfileError(
            f"{path} has no endpoint: make one with ./launch.sh loadtest profile -- --inference_mode=endpoint"
        )
    return profile.endpoint


def source_of(profile: Profile, path: Path) -> str:
    """Return where a profile's figures are from, for people."""
    name = f"the bundled job's {path.name}" if path.parent == BUNDLED.parent else str(path)
    return f"{name}, {profile.measured_at[:10]}, {profile.machine.cpu}, {profile.machine.cores} cores"


def law_of_job(profile: Profile, path: Path) -> ServiceLaw:
    """Return the law of the calls of a profile's job."""
    job = job_of(profile, path)
    return of_profile(job.service, profile.basis, source_of(profile, path), job.levels)
