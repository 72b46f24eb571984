"""Lines of sources that sample at times of their own, in one chart."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from loadtest.analysis.analyse import analyse
from loadtest.analysis.settings import Settings
from loadtest.raw_log import Sample, Series
from loadtest.report.page import to_html
from loadtest.report.resource_charts import resource_charts, unavailable
from tests.loadtest.made_log import STARTED, Load, made_log

SLOW = [0.0, 10.0, 20.0, 30.0]


def test_a_slow_series_is_a_line_among_fast_ones_but_for_its_gaps() -> None:
    log = made_log(Load(rate=50.0, seconds=60.0))
    fast = [Sample(STARTED + at, "gpu/0/utilization", 0.5) for at in range(61)]
    slow = [Sample(STARTED + at, "job/cpu", at / 100) for at in [*SLOW, 60.0]]
    reason = "partly not available: 3 of 64 readings failed (lost)"
    series = {
        "gpu/0/utilization": Series("gpu/0/utilization", "1", "NVML", reason),
        "job/cpu": Series("job/cpu", "1", "Cloud Monitoring"),
    }
    log = replace(
        log,
        series={**log.series, **series},
        samples=tuple(sorted((*log.samples, *fast, *slow), key=lambda sample: sample.at)),
    )
    analysis = analyse(log, Settings())
    (chart,) = [chart for chart in resource_charts(analysis) if chart.title == "Utilization"]
    lines = {line.label: line.values for line in chart.lines}
    np.testing.assert_allclose(lines["job/cpu"][:31], np.arange(31) / 100)
    assert np.isnan(lines["job/cpu"][31:60]).all()
    # Its samples are drawn, and that there are fewer than there should be is told.
    assert np.isfinite(lines["gpu/0/utilization"]).all()
    assert ("gpu/0/utilization", reason) in unavailable(analysis)
    assert reason in to_html([analysis], ["runs/one"])


def test_what_has_no_unit_is_drawn_by_its_kind() -> None:
    """On one scale with a backlog of thousands, workers and shares would be a line at 0."""
    names = (
        "job/workers", "job/target_workers", "endpoint/replicas", "job/vcpus", "job/cpu", "gpu/0/utilization",
        "subscription/backlog", "endpoint/responses/200", "job/scaling/Upscale/High backlog", "other/thing",
    )  # fmt: skip
    log = made_log(Load(rate=50.0, seconds=20.0))
    samples = [Sample(STARTED + at, name, 1.0) for at in range(20) for name in names]
    log = replace(
        log,
        series={name: Series(name, "1", "Cloud Monitoring") for name in names},
        samples=tuple(samples),
    )
    charts = resource_charts(analyse(log, Settings()))
    assert {chart.title: {line.label for line in chart.lines} for chart in charts} == {
        "Workers, replicas and vCPUs": set(names[:4]),
        "Utilization": set(names[4:6]),
        "Backlog of the subscription": {names[6]},
        "Responses of the endpoint, cumulative": {names[7]},
        "Reasons of the autoscaler, 1 while one holds": {names[8]},
        "other/thing": {names[9]},
    }
    assert {chart.unit for chart in charts} == {""}


def test_memory_of_processes_and_of_gpus_stay_apart() -> None:
    log = made_log(Load(rate=50.0, seconds=20.0))
    name = "job/gpu_memory_bytes"
    samples = [Sample(STARTED + at, name, 2.0**30) for at in range(20)]
    log = replace(
        log,
        series={**log.series, name: Series(name, "bytes", "Cloud Monitoring")},
        samples=tuple(sorted((*log.samples, *samples), key=lambda sample: sample.at)),
    )
    charts = resource_charts(analyse(log, Settings()))
    (memory,) = [chart for chart in charts if chart.title == "Memory in use"]
    assert {line.label for line in memory.lines} == {"broker", "driver", "job", name}
