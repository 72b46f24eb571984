from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from planner.workload import WorkloadError, edges, parse_workload, seconds


def test_the_words_of_the_load_lab() -> None:
    assert parse_workload("constant 800").schedule.shape == "constant"
    assert parse_workload("constant 800").duration_s == 3_600
    ramp = parse_workload("ramp 100 2,000 30m").schedule
    assert (ramp.rate, ramp.to_rate, ramp.duration) == (100, 2_000, 1_800)
    burst = parse_workload("burst 100 1000 1h period=10m width=90").schedule
    assert (burst.period, burst.width) == (600, 90)
    assert parse_workload("step 100 400 12 steps=4").schedule.steps == 4


@pytest.mark.parametrize(
    ("text", "rates"),
    [
        ("constant 100 10s", [100] * 5),
        ("ramp 0.5 100.5 10s", [10.5, 30.5, 50.5, 70.5, 90.5]),
        ("step 100 500 10s", [100, 200, 300, 400, 500]),
        ("burst 100 900 10s period=4 width=2", [100, 900, 100, 900, 100]),
        ("spike 100 900 10s width=2", [100, 100, 900, 100, 100]),
    ],
)
def test_rates_are_means_of_the_steps(text: str, rates: list[float]) -> None:
    np.testing.assert_allclose(parse_workload(text).rates(2.0), rates, rtol=1e-6)


def test_a_sine_has_the_mean_of_its_ends() -> None:
    sine = parse_workload("sine 100 300 40s period=20")
    assert sine.arrived(np.array([40.0]))[0] == pytest.approx(8_000, abs=1)
    assert sine.peak() == pytest.approx(300, rel=0.02)


def test_arrivals_are_those_that_the_load_lab_would_send() -> None:
    workload = parse_workload("ramp 50 500 20s")
    offsets = workload.schedule.offsets()
    ends = edges(20.0, 0.7)
    counted = np.searchsorted(offsets, ends)
    assert np.abs(workload.arrived(ends) - counted).max() <= 1


def test_nothing_arrives_after_the_end() -> None:
    workload = parse_workload("burst 100 900 10s")
    assert workload.arrived(np.array([10.0, 11.0, 99.0])).tolist() == [pytest.approx(1_800)] * 3


def test_a_trace_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "requests.jsonl"
    path.write_text("".join(json.dumps({"time": time}) + "\n" for time in (5, 6, 6.5, 9)))
    workload = parse_workload(f"trace {path}")
    assert workload.arrived(np.array([0.0, 0.5, 1.2, 2.0, 9.0])).tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "it is empty"),
        ("surge 100", "'surge' is no shape: choose one of constant"),
        ("ramp 100", "write ramp RATE TO_RATE"),
        ("constant many", "'many' is no number of messages a second"),
        ("constant 100 soon", "'soon' is no duration"),
        ("constant 100 1h width=3", "width=3 has no part in constant: it takes none by name"),
        ("burst 1 2 1h width=2h", "width=7200 must be below"),
        ("constant 0", "rate=0 must be a number above 0"),
        ("constant nan", "rate=nan must be a number above 0"),
        ("trace", "give the file to replay"),
        ("trace /no/such/file", "cannot read /no/such/file"),
        ("step 1 2 1h steps=x", "'x' is no whole number"),
    ],
)
def test_a_wrong_workload_says_what_to_write(text: str, said: str) -> None:
    with pytest.raises(WorkloadError) as refused:
        parse_workload(text)
    assert said in str(refused.value)


def test_all_problems_are_named_at_once() -> None:
    with pytest.raises(WorkloadError) as refused:
        parse_workload("ramp many few soon")
    assert len(refused.value.problems) == 3


@pytest.mark.parametrize(("text", "length"), [("90", 90), ("90s", 90), ("1.5h", 5_400), ("7d", 604_800)])
def test_durations(text: str, length: float) -> None:
    assert seconds(text) == length


def test_the_last_step_covers_the_end() -> None:
    assert edges(1.0, 0.3).tolist() == pytest.approx([0, 0.3, 0.6, 0.9, 1.2])
    assert edges(3_600.0, 0.1)[-1] == pytest.approx(3_600)
    assert 2.1 / 0.3 > 7  # which is rounding, and no further step
    assert len(edges(2.1, 0.3)) == 8
