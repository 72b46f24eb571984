"""JSON of a stated precision: the same figures give the same bytes."""

from __future__ import annotations

import math
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np


def rounded(value: Any, digits: int) -> Any:
    """Return dataclasses, mappings, sequences, arrays and numbers as what JSON has.

    Args:
        value: Of these, nested.
        digits: Significant ones that each float keeps. NaN and the infinities become None.
    """
    if is_dataclass(value):
        return {each.name: rounded(getattr(value, each.name), digits) for each in fields(value)}
    if isinstance(value, dict):
        return {str(key): rounded(each, digits) for key, each in value.items()}
    if isinstance(value, np.ndarray):
        return rounded(value.tolist(), digits)
    if isinstance(value, (list, tuple)):
        return [rounded(each, digits) for each in value]
    if isinstance(value, float):
        return _number(value, digits)
    return value


def _number(value: float, digits: int) -> float | int | None:
    if not math.isfinite(value):
        return None
    short = float(f"{value:.{digits}g}")
    # As an integer it is shorter, and reads the same in JSON.
    return int(short) if short.is_integer() and abs(short) < 2**53 else short
