"""An endpoint's profile, of a server whose truth is known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from loadtest.endpoint.options import parse
from loadtest.interrupt import Stop
from loadtest.profile.endpoint import measure_endpoint
from loadtest.profile.profile import EndpointProfile
from tests.loadtest.endpoint.server import KnownEndpoint
from tests.waiting import LIMIT_S


def profile(
    endpoint: KnownEndpoint, folder: Path, rows: tuple[int, ...], most: int | None
) -> EndpointProfile:
    records = folder / "records.jsonl"
    records.write_text('{"features": [1.0, 2.0]}\n')
    options, problems = parse(
        [
            f"--endpoint_url={endpoint.url}", f"--input={records}", f"--out={folder}", "--input_shape=2",
            "--connections=1", "--seconds=0.1", f"--ready_timeout={LIMIT_S:g}",
        ]
    )  # fmt: skip
    assert options is not None, problems
    return measure_endpoint(replace(options, rows=rows), lambda: None, None, most, lambda _: None, Stop())


def test_no_call_has_more_instances_than_it_may(tmp_path: Path) -> None:
    with KnownEndpoint() as endpoint:
        found = profile(endpoint, tmp_path, (1, 4, 16, 64), most=4)
    assert set(endpoint.rows) == {1, 2, 3, 4}
    assert [point.size for point in found.service.points] == [1, 2, 3, 4]
    assert {one.rows for one in found.at_once} == {1, 2, 3, 4}
    assert found.notes["service"] == (
        "calls of 16, 64 are left out: the container takes at most 4 instances in a call (--max_batch_size)"
    )


def test_as_many_as_it_may_are_all_measured(tmp_path: Path) -> None:
    with KnownEndpoint() as endpoint:
        found = profile(endpoint, tmp_path, (1, 4), most=4)
    assert set(endpoint.rows) == {1, 4}
    assert "service" not in found.notes


def test_a_size_that_an_endpoint_elsewhere_refuses_is_told(tmp_path: Path) -> None:
    with KnownEndpoint() as endpoint:
        endpoint.most_rows = 4
        found = profile(endpoint, tmp_path, (1, 4, 16), most=None)
    assert set(endpoint.rows) == {1, 4, 16}
    assert [point.size for point in found.service.points] == [1, 4]
    assert found.notes["service"].startswith("of calls of 16 rows there is nothing: 400 ")
