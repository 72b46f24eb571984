"""What the flags of a job elsewhere watch, and which of them are wrong."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from lab.search_command import parse_search
from lab.target import started
from loadtest.interrupt import Stop
from pipeline.options.google_api import MONITORING_OVERRIDE
from tests.lab.test_cloud import ELSEWHERE

NAME = "projects/shop-1/locations/us-central1/endpoints/4711"


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--job=classify"], "--job is of a job that runs elsewhere: give --input_topic, too"),
        (["--input_subscription=requests"], "--input_subscription is of a job that runs elsewhere"),
        (["--endpoint=4711"], "beside a job that runs here it takes the full name"),
        ([*ELSEWHERE, "--endpoint=a/b"], "--endpoint: 'a/b' is neither the id of an endpoint nor"),
        ([*ELSEWHERE, "--input_subscription=a/b"], "--input_subscription: 'a/b' is not projects/PROJECT"),
        ([*ELSEWHERE, "--region=us-central1"], "--region is of --job, which is missing"),
        (
            [*ELSEWHERE, "--job=x", "--workers_timeout=-1"],
            "--workers_timeout=-1 must be a number of at least 0",
        ),
        (["--dcgm_exporter=gpu:9400"], "--dcgm_exporter: 'gpu:9400' is not a URL"),
    ],
)
def test_wrong_flags(arguments: list[str], problem: str) -> None:
    line, search, _ = parse_search(arguments)
    assert search is None
    assert any(problem in each for each in line.problems), line.problems


def test_an_address_that_would_get_the_token_in_clear_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MONITORING_OVERRIDE, "http://example.com")
    line, _, _ = parse_search([*ELSEWHERE, "--job=x"])
    assert any(f"{MONITORING_OVERRIDE}: 'http://example.com' would get" in each for each in line.problems)


def test_flags_name_what_is_watched() -> None:
    line, _, _ = parse_search(
        [
            *ELSEWHERE,
            "--job=classify",
            "--region=europe-west1",
            "--input_subscription=requests-sub",
            f"--endpoint={NAME}",
        ]
    )
    assert not line.problems
    clauses = [one.clause for one in line.metrics.watched]
    in_region = 'resource.labels.job_name="classify" AND resource.labels.region="europe-west1"'
    subscription = 'resource.labels.subscription_id="requests-sub"'
    assert clauses == [in_region, in_region, subscription, 'resource.labels.endpoint_id="4711"']
    assert [one.project for one in line.metrics.watched] == ["shop", "shop", "shop", "shop-1"]


@pytest.mark.parametrize(
    ("arguments", "expected"), [([], False), (["--nvml"], True), (["--", "--device=gpu"], True)]
)
def test_why_there_is_no_gpu_matters_where_one_is_asked_for(arguments: list[str], expected: bool) -> None:
    line, _, _ = parse_search(arguments)
    assert line.metrics.gpu_expected == expected


def test_beside_a_job_here_an_endpoint_is_watched_by_its_full_name() -> None:
    line, _, _ = parse_search([f"--endpoint={NAME}"])
    assert not line.problems
    assert [one.project for one in line.metrics.watched] == ["shop-1"]


def test_a_gpu_that_is_missing_is_in_the_raw_log_of_a_run(tmp_path: Path) -> None:
    line, _, _ = parse_search([*ELSEWHERE, "--dcgm_exporter=http://127.0.0.1:9/metrics"])
    with (
        started(line.options, line.flags, tmp_path, Stop(), Console(file=StringIO()), line.metrics) as target,
        target.system.sources() as sources,
    ):
        (source,) = sources
        assert source.sample(0.0) == []
        assert all("no answer of http://127.0.0.1:9/metrics" in one.unavailable for one in source.series())
