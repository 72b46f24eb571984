from __future__ import annotations

import pytest

from loadtest.bottleneck.job_flags import Limits, limits


def test_flags_that_are_not_given_have_the_jobs_defaults() -> None:
    assert limits("") == Limits(
        endpoint=False, batch=128, concurrency=32, single_process=False, most_workers=None
    )


def test_flags_are_read_as_the_job_reads_them() -> None:
    text = "--inference-mode endpoint --endpoint_batch_size=4 --endpoint_batch_size=8 --runner=DataflowRunner"
    found = limits(f"{text} --worker_processes=single --max-num-workers=7 --endpoint_max_concurrency=")
    assert found == Limits(endpoint=True, batch=8, concurrency=32, single_process=True, most_workers=7)


def test_the_batch_is_that_of_the_mode() -> None:
    assert limits("--endpoint_batch_size=8 --max_batch_size=64").batch == 64


def test_a_value_that_the_job_would_refuse_is_refused() -> None:
    with pytest.raises(ValueError, match="max_batch_size|integer|number"):
        limits("--max_batch_size=many")
