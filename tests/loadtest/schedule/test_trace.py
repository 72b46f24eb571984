from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from loadtest.schedule.shapes import Schedule
from loadtest.schedule.trace import TraceError, read_trace


@pytest.mark.parametrize(
    "content",
    [
        "1700000000\n1700000000.25\n\n1700000001.5\n",
        "3\n2.75\n4.25\n",  # in any order
        '{"timestamp": 10}\n{"timestamp": 10.25, "model": "m"}\n{"timestamp": 11.5}\n',
        '{"time": 10}\n{"time": 10.25}\n{"time": 11.5}\n',
        '{"timestamp_ms": 0}\n{"timestamp_ms": 250}\n{"timestamp_ms": 1500}\n',
        '{"timestamp": "2026-01-31T23:59:59.5Z"}\n{"timestamp": "2026-01-31T23:59:59.75Z"}\n'
        '{"timestamp": "2026-02-01T01:00:01+01:00"}\n',
    ],
)
def test_times_are_counted_from_the_earliest(tmp_path: Path, content: str) -> None:
    path = tmp_path / "trace"
    path.write_text(content)
    trace = read_trace(path)
    np.testing.assert_allclose(trace.offsets, [0, 0.25, 1.5], rtol=0, atol=1e-6)
    assert [trace.duration, trace.rate] == pytest.approx([2.25, 3 / 2.25])
    replayed = Schedule("trace", 1, 1, trace=trace)
    assert replayed.problems() == []
    np.testing.assert_array_equal(replayed.offsets(), trace.offsets)
    assert (replayed.seconds, replayed.due()) == (trace.duration, 3)


def test_one_request_lasts_a_second(tmp_path: Path) -> None:
    path = tmp_path / "trace"
    path.write_text("5\n")
    assert read_trace(path).duration == 1


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        ("", ["holds no time"]),
        ("1\nsoon\n", ["line 2 of"]),
        ("true\n[1]\n", ["line 1 of", "line 2 of"]),
        ('{"when": 1}\n', ["line 1 of"]),
        ('{"timestamp": null}\n', ["line 1 of"]),
        ('{"timestamp": "yesterday"}\n', ["'yesterday' is no time"]),
        ("NaN\n", ["line 1 of"]),
        ("x\n" * 9, [f"line {n} of" for n in range(1, 6)] + ["4 more lines of"]),
    ],
)
def test_lines_without_a_time_are_named(tmp_path: Path, content: str, lines: list[str]) -> None:
    path = tmp_path / "trace"
    path.write_text(content)
    with pytest.raises(TraceError) as caught:
        read_trace(path)
    assert len(caught.value.problems) == len(lines)
    for problem, expected in zip(caught.value.problems, lines, strict=True):
        assert expected in problem


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="cannot read .*no-such"):
        read_trace(tmp_path / "no-such")
