"""A request is a text of two numbers; 13 is an answer that nobody may get."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def decode(body: dict[str, Any], attributes: Mapping[str, str]) -> list[float]:
    """Return the numbers of `{"text": "1 2"}`; a file that `touch` names tells that the request was seen."""
    if "touch" in body:
        Path(body["touch"]).touch()
    return [float(word) for word in body["text"].split()]


def encode(prediction: Any) -> dict[str, float]:
    """Return the model's number under a name."""
    if prediction == 13:
        raise ValueError("13 brings bad luck")
    return {"sum": float(prediction)}


def whereabouts(prediction: Any) -> dict[str, Any]:
    """Return where this worker has the job's package from, and which others of its repository it finds."""
    others = ("benchmarks", "broker", "examples", "launch", "serving")
    return {
        "score": float(prediction),
        "pipeline": sys.modules["pipeline"].__file__,
        "others": [name for name in others if importlib.util.find_spec(name)],
    }
