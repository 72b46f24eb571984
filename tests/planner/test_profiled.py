"""A worker out of profile.json."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from loadtest.profile.profile import JobProfile, Profile
from planner.kernel.simulation import simulate
from planner.kernel.worker import LOCAL_ENGINE, EndpointCalls, ModelInWorker
from planner.profiled import NotInProfileError, profiled_worker
from tests.loadtest.profile.made_profile import made_law, made_profile


def job_of(profile: Profile) -> JobProfile:
    assert profile.job is not None
    return profile.job


def test_a_local_job() -> None:
    made = made_profile()
    profile = replace(made, job=replace(job_of(made), rest=made_law(1.0, 0.02), flags="--max_batch_size=64"))
    found = profiled_worker(profile, "profile.json", vcpus=2)
    assert isinstance(found.worker.model, ModelInWorker)
    assert found.worker.model.batching.max_batch_size == 64
    assert found.worker.bundles == LOCAL_ENGINE
    steady = replace(found.worker.model, time=replace(found.worker.model.time, variation=0.0))
    alone = simulate(replace(found.worker, model=steady), np.array([0.0]), 1).latency_s
    # Hand-over, decoding, call and encoding of one, and half of the rest.
    assert alone.tolist() == pytest.approx([0.0003 + 0.00003 + 0.00051 + 0.00002 + 0.0005])
    assert found.law.fixed.source == "profile.json, 2026-01-31T12:00:00+00:00, made"


def test_what_is_not_in_the_profile_is_said() -> None:
    found = profiled_worker(made_profile(), "profile.json", vcpus=2)
    assert "rest is not in the profile, and taken as nothing" in found.assumed
    assert not any(line.startswith("decode") for line in found.assumed)
    assert found.worker.work.encode_s == found.worker.work.commit_s == 0.0


def test_a_job_in_endpoint_mode() -> None:
    made = made_profile()
    flags = "--inference_mode=endpoint --endpoint_batch_size=8 --endpoint_max_concurrency=4"
    job = replace(job_of(made), mode="endpoint", flags=flags, decode=None)
    found = profiled_worker(replace(made, job=job), "profile.json", vcpus=2)
    assert isinstance(found.worker.model, EndpointCalls)
    assert (found.worker.model.batch_size, found.worker.model.max_concurrency) == (8, 4)
    assert "the endpoint serves as many calls at once as the job makes" in found.assumed


def test_a_profile_of_an_endpoint_alone() -> None:
    with pytest.raises(NotInProfileError, match=r"profile\.json is of an endpoint alone: make one of a job"):
        profiled_worker(made_profile(job=False), "profile.json", vcpus=2)
