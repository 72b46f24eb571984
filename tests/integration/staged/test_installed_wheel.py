"""The job from its wheel, as in the workers' image: no checkout, another folder, a package of the user's."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import orjson
import pytest
import torch

from benchmarks.harness.bundles import UserMetrics
from benchmarks.harness.fused_stage import FusedStage
from benchmarks.harness.sdk_harness import run_bundles, sdk_harnesses, this_python
from tests.integration.conftest import MODEL, RECORDS
from tests.integration.staged.messages import Outcome, bundle, request
from tests.integration.staged.user_job import INSTALLED, PACKAGE, staged_with_package
from tests.pipeline.job.test_command_line import line
from tests.wheels import built_wheel, copy_packages, install, path_without_checkout

BODIES = [orjson.loads(text) for text in RECORDS.read_bytes().splitlines()[:30]]


def test_it_runs_where_there_is_no_checkout(tmp_path: Path) -> None:
    checkout, elsewhere = tmp_path / "copy", tmp_path / "elsewhere"
    checkout.mkdir()
    elsewhere.mkdir()
    installed = install(built_wheel(copy_packages(checkout)), tmp_path / "installed")
    argv = line(model_path=str(MODEL), encode_hook=f"{PACKAGE}.hooks:whereabouts")
    job = staged_with_package(tmp_path / "job", argv)
    path = os.pathsep.join([path_without_checkout(installed), str(INSTALLED)])

    def command(variables: Mapping[str, str]) -> Sequence[str]:
        _, *arguments = this_python(variables)
        return ("env", f"PYTHONPATH={path}", sys.executable, "-S", *arguments)

    requests = [request(str(number), body) for number, body in enumerate(BODIES)]
    bundles = [bundle([*requests[first : first + 10]]) for first in range(0, len(requests), 10)]
    bundles.append(bundle([request("bad", b"no JSON")]))
    with sdk_harnesses(
        FusedStage.of(job.proto), job.worker_options, command=command, folder=elsewhere
    ) as harnesses:
        done = [future.result() for future in run_bundles(harnesses.running, bundles, in_flight=2)]

    outcome = Outcome.of(done)
    assert outcome.ids == sorted([*map(str, range(len(BODIES))), "bad"])
    assert [(id_, letter["error_stage"]) for id_, letter in outcome.dead_letters] == [("bad", "decode")]
    predictions = {int(id_): body["prediction"] for id_, body in outcome.results}
    features = torch.tensor([body["features"] for body in BODIES])
    with torch.inference_mode():
        expected = torch.export.load(MODEL).module()(features)
    assert [predictions[number]["score"] for number in range(len(BODIES))] == pytest.approx(
        expected.tolist(), rel=1e-4
    )
    for prediction in predictions.values():
        assert prediction["pipeline"] == str(installed / "pipeline/__init__.py")
        assert prediction["others"] == []
    assert sum((each.metrics() for each in done), UserMetrics()).counters["results"] == len(BODIES)
