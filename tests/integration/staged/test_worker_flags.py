"""Flags of a worker: what they make of a process that runs the job."""

from __future__ import annotations

import os
from pathlib import Path

from apache_beam.transforms.resources import MaxActiveBundlesPerWorkerHint

from benchmarks.harness.sdk_harness import run_bundles, sdk_harnesses
from tests.integration.staged.messages import Outcome, bundle
from tests.integration.staged.user_job import INSTALLED, python_with, sum_of, user_job


def test_one_process_on_all_cores_with_limited_bundles(tmp_path: Path) -> None:
    job = user_job(tmp_path / "job", worker_processes="single", max_active_bundles_per_worker="3")
    experiments = job.staged.job["environment"]["experiments"]
    assert "no_use_multiple_sdk_containers" in experiments
    assert "use_multiple_sdk_containers" not in experiments

    descriptor = job.stage.descriptor  # all that is ours is in one stage
    (environment_id,) = {each.environment_id for each in descriptor.transforms.values()} - {""}
    hints = dict(descriptor.environments[environment_id].resource_hints)
    assert hints == {MaxActiveBundlesPerWorkerHint.urn: b"3"}

    bundles = [bundle(sum_of(f"{first + place}", first, place) for place in range(4)) for first in (20, 30)]
    command = python_with(INSTALLED)
    with sdk_harnesses(job.stage, job.staged.worker_options, command=command) as harnesses:
        (harness,) = harnesses.running
        done = [future.result() for future in run_bundles([harness], bundles, in_flight=3)]
    assert {id_: body["prediction"]["sum"] for id_, body in Outcome.of(done).results} == {
        str(number): number for number in (*range(20, 24), *range(30, 34))
    }
    told = job.told(harness.pid)
    assert told["load"] == 1
    cores = len(os.sched_getaffinity(0))
    assert {word for word in told if word.startswith("threads")} == {f"threads {cores}"}
