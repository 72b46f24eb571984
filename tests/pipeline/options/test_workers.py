"""How many threads the model of a process gets."""

from __future__ import annotations

import os

import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from pipeline.job.command_line import job_options
from pipeline.options.workers import processes, torch_threads
from tests.pipeline.job.test_command_line import line


@pytest.mark.parametrize(
    ("flags", "on_dataflow", "cores", "threads"),
    [
        ({}, True, 8, 1),
        ({"worker_processes": "per_cpu"}, True, 8, 1),
        ({"worker_processes": "single"}, True, 8, 8),
        ({"worker_processes": "single"}, True, 1, 1),
        ({}, False, 8, 7),
        ({}, False, 1, 1),
        ({"torch_threads": "3"}, True, 8, 3),
        ({"torch_threads": "3", "worker_processes": "single"}, True, 8, 3),
        ({"torch_threads": "16"}, False, 8, 16),
    ],
)
def test_threads(
    flags: dict[str, str], on_dataflow: bool, cores: int, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # More than this process may run on.
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(cores)), raising=False)
    assert torch_threads(job_options(PipelineOptions(line(**flags))), on_dataflow) == threads


@pytest.mark.parametrize(
    ("flags", "on_dataflow", "wanted"),
    [({}, True, 8), ({"worker_processes": "single"}, True, 1), ({}, False, 1)],
)
def test_processes(
    flags: dict[str, str], on_dataflow: bool, wanted: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    assert processes(job_options(PipelineOptions(line(**flags))), on_dataflow) == wanted


@pytest.mark.parametrize(("count", "threads"), [(8, 7), (None, 1)])
def test_where_a_process_cannot_ask_for_its_cores(
    count: int | None, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: count)
    assert torch_threads(job_options(PipelineOptions(line())), on_dataflow=False) == threads
