"""A plan as JSON: all that the screen says, and everything over time with its bands."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from loadtest.raw_log import Floats
from planner.answer import NOT_IN_IT, Answer, where_from
from planner.timeline import Timeline, bands

FORMAT = "streaming inference plan"
VERSION = 1
_OVER_TIME = (
    "workers", "wanted_workers", "replicas", "wanted_replicas", "backlog", "done_per_s", "cpu", "replica_cpu",
    "throttled",
)  # fmt: skip
_POINTS = 240
_DIGITS = 6


def as_json(answer: Answer) -> dict[str, Any]:
    """Return a prediction for a program; the same prediction gives the same, byte for byte."""
    prediction = answer.prediction
    question, configuration = prediction.question, prediction.question.configuration
    return {
        "format": FORMAT,
        "version": VERSION,
        "workload": question.workload.text,
        "name": configuration.name,
        "settings": dict(configuration.given),
        "job_flags": dict(configuration.job_flags),
        "machine_type": prediction.shape.machine_type,
        "seed": question.seed,
        "draws": prediction.draws.count,
        "headline": answer.headline,
        "sentences": list(answer.sentences),
        "keeps_up_share": answer.keeps_up_share,
        "mistakes": list(prediction.mistakes),
        "figures": [
            {
                "name": row.name,
                "unit": row.unit,
                "value": rounded(row.central),
                "p10": rounded(row.low),
                "p90": rounded(row.high),
                "worst": rounded(row.worst),
            }
            for row in answer.rows
        ],
        "cost": {
            "hour": answer.bill.hour.as_json(),
            "month": answer.bill.month.as_json(),
            "million": answer.bill.million.as_json(),
        },
        "profile": where_from(prediction),
        "grounds": [dataclasses.asdict(ground) for ground in prediction.grounds],
        "not_in_it": NOT_IN_IT,
        "launch": configuration.launch_lines,
        "update": configuration.update_line,
        "over_time": over_time(prediction.timeline),
    }


def over_time(timeline: Timeline) -> dict[str, Any]:
    """Return what happens, at some 240 times: each with P10, the central draw and P90."""
    count = len(timeline.times) - 1
    places = np.unique(np.linspace(0, count - 1, min(count, _POINTS)).astype(np.int64))
    return {
        "seconds": _list(timeline.times[1:][places]),
        **{
            name: dict(
                zip(
                    ("p10", "value", "p90"),
                    (_list(band) for band in bands(timeline[name][places])),
                    strict=True,
                )
            )
            for name in _OVER_TIME
        },
    }


def rounded(value: float) -> float:
    """Return a figure with so many digits as it has, at most."""
    return float(f"{value:.{_DIGITS}g}")


def _list(values: Floats) -> list[float]:
    return [rounded(value) for value in values.tolist()]
