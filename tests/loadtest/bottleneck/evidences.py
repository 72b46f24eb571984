"""Evidence to begin from."""

from __future__ import annotations

from typing import Any

from loadtest.bottleneck.evidence import Evidence

SLOW = Evidence(
    messages=10_000,
    offered=100.0,
    answered=100.0,
    achieved=1.0,
    growth=0.0,
    detectable_growth=0.05,
    latency_s=1.0,
    latency_limit_s=0.1,
    late_s=0.0,
)
"""A run that keeps up and answers late; nobody knows why."""

GROWING: dict[str, Any] = {"growth": 0.5, "answered": 50.0}
"""What makes it one that does not keep up."""


def stages(batch_wait_s: float, inference_s: float, rest_s: float) -> dict[str, Any]:
    return {"batch_wait_s": batch_wait_s, "inference_s": inference_s, "rest_s": rest_s}
