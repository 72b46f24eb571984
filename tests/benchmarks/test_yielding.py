"""`benchmarks.swap.yielding` with few requests: what is measured, and what it leaves behind."""

from __future__ import annotations

import math
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson
import pytest

from benchmarks.swap.yielding import WAYS, Way, handover, main, measure, parse, switch_interval


def test_loads_happen_beside_the_serving_thread_in_the_given_way() -> None:
    entered: list[str] = []

    @contextmanager
    def way() -> Iterator[None]:
        entered.append(threading.current_thread().name)
        yield

    found = measure(Way("counted", way), rate=1000, seconds=0.05)
    assert found.loads == len(entered) >= 1
    assert threading.current_thread().name not in entered
    assert 0 < found.p50_ms <= found.p99_ms
    assert found.load_s > 0


def test_without_a_load() -> None:
    found = measure(Way("nothing", None), rate=1000, seconds=0.05)
    assert found.loads == 0
    assert math.isnan(found.load_s)


def test_the_switch_interval_is_restored() -> None:
    before = sys.getswitchinterval()
    with switch_interval(0.0005):
        assert sys.getswitchinterval() == pytest.approx(0.0005)
    assert sys.getswitchinterval() == before


def test_a_loaded_model_cannot_be_handed_over() -> None:
    """If one day it can, loading in a child process is worth another look."""
    found = handover()
    assert "possible" not in (found.module, found.program)
    assert found.tensors_ms < found.load_ms


@pytest.mark.slow
def test_leaves_tables_and_figures(tmp_path: Path) -> None:
    assert main(["--rate=500", "--seconds=0.02", "--rounds=2", f"--out={tmp_path}"]) == 0
    figures = orjson.loads((tmp_path / "yielding.json").read_bytes())
    assert {title: len(rounds) for title, rounds in figures["ways"].items()} == {way.title: 2 for way in WAYS}
    text = (tmp_path / "yielding.txt").read_text()
    assert all(way.title in text for way in WAYS)


@pytest.mark.parametrize("flag", ["--rate=0", "--seconds=0", "--rounds=0", "--out=/no/such"])
def test_wrong_flags(flag: str) -> None:
    with pytest.raises(SystemExit) as ended:
        parse([flag])
    assert ended.value.code == 2
