"""The model of a running process is swapped, with bundles in flight."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import orjson

from benchmarks.harness.bundles import UserMetrics
from benchmarks.harness.fused_stage import FusedStage
from benchmarks.harness.sdk_harness import run_bundles, sdk_harnesses
from benchmarks.harness.staging import staged
from benchmarks.swap.models import RECORDS, is_right, make_versions, point
from tests.integration.staged.messages import Outcome, bundle, request
from tests.pipeline.job.test_command_line import line
from tests.waiting import LIMIT_S

BODIES = [orjson.loads(text) for text in RECORDS.read_bytes().splitlines()]
IN_A_BUNDLE = 5


def test_each_result_names_the_weights_that_made_it(tmp_path: Path) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    versions = first, second = make_versions(folder)
    pointer = folder / "current"
    point(pointer, first)
    flags = line(model_path=None, model_pointer=str(pointer), model_refresh_s="0.05")
    job = staged(tmp_path / "job", flags)

    with sdk_harnesses(FusedStage.of(job.proto), job.worker_options) as harnesses:
        (harness,) = harnesses.running
        sent: list[str] = []

        def next_bundle() -> Sequence[bytes]:
            numbers = range(len(sent), len(sent) + IN_A_BUNDLE)
            sent.extend(map(str, numbers))
            return bundle(request(str(number), BODIES[number % len(BODIES)]) for number in numbers)

        def bundles() -> Iterator[Sequence[bytes]]:
            for _ in range(8):
                yield next_bundle()
            point(pointer, second)
            deadline = time.monotonic() + LIMIT_S
            while not any("swapped the model" in entry for entry in harness.log):
                assert time.monotonic() < deadline, harness.log
                yield next_bundle()
            for _ in range(8):
                yield next_bundle()

        done = [future.result() for future in run_bundles([harness], bundles(), in_flight=4)]

    outcome = Outcome.of(done)
    assert outcome.ids == sorted(sent)  # none is lost, none is there twice
    assert outcome.dead_letters == []
    for id_, body in outcome.results:
        assert is_right(body, int(id_), versions), body
    names = {int(id_): body["model_id"].partition("@")[0] for id_, body in outcome.results}
    assert names[0] == "v1.pt2"
    assert {names[number] for number in sorted(names)[-IN_A_BUNDLE:]} == {"v2.pt2"}
    metrics = sum((each.metrics() for each in done), UserMetrics())
    assert metrics.counters["model_swaps"] == 1
    # The file's bytes are named, not the file alone: two models, two hashes.
    assert len({body["model_id"] for _, body in outcome.results}) == 2
