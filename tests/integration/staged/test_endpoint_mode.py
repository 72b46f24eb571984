"""Endpoint mode on a worker: a real container on loopback, and a front that keeps it from serving."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import orjson
import pytest
import torch

from benchmarks.harness.bundles import BundleFailedError, ProcessLostError
from benchmarks.harness.fused_stage import FusedStage
from benchmarks.harness.sdk_harness import run_bundles, sdk_harnesses
from benchmarks.harness.staging import staged
from tests.integration.conftest import MODEL, RECORDS
from tests.integration.endpoint.conftest import FEATURES, serving
from tests.integration.faulty_endpoint import FaultyEndpoint, Refusal
from tests.integration.staged.messages import Outcome, bundle, request
from tests.pipeline.job.test_command_line import line

BODIES = [orjson.loads(text) for text in RECORDS.read_bytes().splitlines()[:40]]


def refuse(front: FaultyEndpoint) -> None:
    front.misbehave(Refusal(503))


def test_answers_are_right_and_outages_fail_bundles(tmp_path: Path) -> None:
    requests = [request(str(number), body) for number, body in enumerate(BODIES)]
    bundles = [bundle(requests[first : first + 8]) for first in range(0, len(requests), 8)]
    bundles[1] = bundle([*requests[8:16], request("bad", b"no JSON")])
    outages: list[tuple[Callable[[FaultyEndpoint], None], Callable[[FaultyEndpoint], None]]] = [
        (refuse, FaultyEndpoint.behave),
        (FaultyEndpoint.go_away, FaultyEndpoint.come_back),
    ]
    with (
        serving(tmp_path / "serving.log") as container,
        FaultyEndpoint("127.0.0.1", int(container.address.rpartition(":")[2]), FEATURES) as front,
    ):
        job = staged(
            tmp_path / "job",
            line(
                inference_mode="endpoint",
                endpoint_url=f"{front.url}/predict",
                endpoint_batch_size="4",
                endpoint_deadline_s="1",
            ),
        )
        with sdk_harnesses(FusedStage.of(job.proto), job.worker_options) as harnesses:
            (harness,) = harnesses.running
            done = [future.result() for future in run_bundles([harness], bundles, in_flight=3)]
            assert max(len(call.rows) for call in front.calls) == 4
            for begin, end in outages:
                begin(front)
                failed = harness.submit(bundles[1])
                with pytest.raises(BundleFailedError, match="TransientError"):
                    failed.result()
                assert not isinstance(failed.exception(), ProcessLostError)
                end(front)
                # It comes again, to the same process.
                again = Outcome.of([harness.submit(bundles[1]).result()])
                assert again.ids == sorted([*map(str, range(8, 16)), "bad"])
                assert [id_ for id_, _ in again.dead_letters] == ["bad"]

    outcome = Outcome.of(done)
    assert [(id_, letter["error_stage"]) for id_, letter in outcome.dead_letters] == [("bad", "decode")]
    answers = {int(id_): body["prediction"] for id_, body in outcome.results}
    assert len(outcome.results) == len(answers) == len(BODIES)
    features = torch.tensor([body["features"] for body in BODIES])
    with torch.inference_mode():
        expected = torch.export.load(MODEL).module()(features)
    assert [answers[number] for number in range(len(BODIES))] == pytest.approx(expected.tolist(), rel=1e-4)
