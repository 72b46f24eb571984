"""The goals and the report of the GPU benchmark."""

from __future__ import annotations

import json

import orjson

from benchmarks.gpu import report
from benchmarks.gpu.context import NO_TIME
from benchmarks.gpu.goals import verdicts
from benchmarks.harness.verdict import figures


def row(side: str, rate: float) -> dict[str, object]:
    return {"precision": "fp16", "bundle": 1, "threads": 48, "side": side, "requests_per_s": rate}


def test_goals() -> None:
    """Those of the parts that were run, measured or not."""
    skipped = {"precision": "bf16", "bundle": 1, "threads": 48, "side": "ours", **NO_TIME}
    parts = {
        "against_stock": {"rows": [row("stock", 100.0), row("ours", 600.0), skipped]},
        "plain": {"rows": [{"precision": "fp16", "batch": 8, "ms": 1.0, "rate": 1000.0}]},
        "copies": {
            "rows": [
                {"step": "forward pass", "ms": 1.0},
                {"step": "whole batches, 1 at once", "of_longest": 2.0},
                {"step": "whole batches, 2 at once", "of_longest": 1.3},
                {"step": "whole batches, 3 at once", "of_longest": 0.6},
            ]
        },
    }
    found = verdicts(parts)
    assert [(round(each.value, 3), each.met) for each in found if each.met is not None] == [
        (6.0, True),
        (0.6, False),
        (1.3, False),
    ]
    not_measured = [each for each in found if each.met is None]
    assert len(not_measured) == 2 + 4  # bundles of 4, and all of bf16
    assert str(not_measured[0]) == (
        "rate, fp16, 48 threads, bundles of 4, ours / stock: not measured (goal: at least 5)"
    )
    assert {each["value"] for each in json.loads(orjson.dumps(figures(not_measured)))} == {None}
    assert verdicts({"waiting": {"rows": []}}) == []
    assert [each.met for each in verdicts({"copies": {"rows": []}})] == [None]


def test_the_report() -> None:
    part = {
        "title": "Plain forward passes",
        "status": "failed",
        "reason": "exit code 1",
        "seconds": 3.0,
        "rows": [{"batch": 1, "rate": 1234.5}, {"batch": 128, "rate": 9.876}],
        "nvml": {"power_w_mean": 92.4, "sm_utilization_percent_mean": "not available: no GPM"},
    }
    tests = {
        **part,
        "title": "CUDA tests",
        "rows": [
            {"test": "a", "outcome": "passed", "reason": "", "seconds": 0.1},
            {"test": "b", "outcome": "passed", "reason": "", "seconds": 0.1},
            {"test": "c", "outcome": "failed", "reason": "AssertionError", "seconds": 0.1},
        ],
    }
    run = {"title": "A title", "machine": {"device": "NVIDIA L4"}, "parts": {"plain": part, "tests": tests}}
    lines = report.text(run, []).splitlines()
    assert "Plain forward passes: failed, 3 s: exit code 1" in lines
    assert "  batch   rate" in lines
    assert "      1  1,234" in lines
    assert "    128   9.88" in lines
    assert {"2 passed", "1 failed: AssertionError", "device NVIDIA L4"} <= set(lines)
    assert any("power_w_mean 92.4" in line for line in lines)
    assert max(map(len, lines)) <= 110
