"""Which GPUs are sampled: none where there is none, unless somebody wants to know why."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, cast

import pytest

from loadtest.metrics.dcgm_exporter import DcgmExporter
from loadtest.metrics.gpu_sources import gpu_sources
from loadtest.metrics.nvml import Nvml
from tests.loadtest.metrics.fake_nvml import FakeNvml, Gpu


@pytest.fixture
def no_nvml(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(cast(Any, sys.modules), "pynvml", None)


@pytest.mark.usefixtures("no_nvml")
def test_a_machine_without_a_gpu_is_passed_over(tmp_path: Path) -> None:
    with gpu_sources("", expected=False, driver=tmp_path / "none") as sources:
        assert list(sources) == []


@pytest.mark.usefixtures("no_nvml")
@pytest.mark.parametrize(("expected", "driver"), [(True, False), (False, True)])
def test_where_a_gpu_is_expected_or_a_driver_is_there_the_reason_is_told(
    expected: bool, driver: bool, tmp_path: Path
) -> None:
    with gpu_sources("", expected=expected, driver=tmp_path if driver else tmp_path / "none") as sources:
        (source,) = sources
        assert {one.unavailable for one in source.series()} == {
            "not available: nvidia-ml-py is not installed: `pip install nvidia-ml-py`"
        }


def test_a_gpu_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(cast(Any, sys.modules), "pynvml", FakeNvml(Gpu()))
    with gpu_sources("", expected=False, driver=tmp_path / "none") as sources:
        (source,) = sources
        assert isinstance(source, Nvml)
        assert "gpu/0/utilization" in {sample.series for sample in source.sample(0.0)}


def test_an_exporter_takes_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(cast(Any, sys.modules), "pynvml", FakeNvml(Gpu()))
    with gpu_sources("http://127.0.0.1:9400/metrics", expected=True) as sources:
        assert [type(source) for source in sources] == [DcgmExporter]
