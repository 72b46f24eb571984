"""Requests of which no two are alike, and which cost a job the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson

from loadtest.records import Records

# What the job takes as inputs; all other fields pass through.
_INPUTS = ("features", "inputs")
# Of a number, by which it is varied at most: float32 tells 100,000 such values of one number apart.
_SHARE = 0.01
# All of them are held at once, here and in each sender.
MOST_BYTES = 500_000_000


class NoUniqueBodiesError(Exception):
    """No unique bodies can be made; the message says why."""


def unique_bodies(records: Records, count: int, seed: int) -> Records:
    """Return records made of the first one, each with its fractional numbers varied by 1 % at most.

    All come of one record so that nothing but the values differs: not the shapes, nor the length of a text.
    Whole numbers stay, as they may be tokens, which a vocabulary must have.

    Args:
        records: JSON objects; at least one.
        count: How many.
        seed: Of the variation.

    Raises:
        NoUniqueBodiesError: The first record has no fractional number among its inputs, or they would take
            more than 500 MB.
    """
    body = orjson.loads(records.bodies[0])
    places = [place for name in _INPUTS if name in body for place in _fractions(body, name)]
    if not places:
        raise NoUniqueBodiesError(
            'the first record has no fractional number in "features" or "inputs" that could be varied '
            "(1.0 is one, 1 is not)"
        )
    if count * len(records.bodies[0]) > MOST_BYTES:
        raise NoUniqueBodiesError(
            f"{count:,} bodies of {len(records.bodies[0]):,} bytes are above {MOST_BYTES / 1e6:g} MB: lower "
            "--rate or --duration"
        )
    given = np.array([holder[key] for holder, key in places])
    scale = np.where(given == 0, _SHARE, _SHARE * np.abs(given))
    rng = np.random.default_rng(seed)
    bodies = []
    for _ in range(count):
        varied = (given + scale * rng.uniform(-1, 1, len(given))).tolist()
        for (holder, key), value in zip(places, varied, strict=True):
            holder[key] = value
        bodies.append(orjson.dumps(body))
    return Records(bodies, [records.ids[0]] * count, [records.labels[0]] * count)


def _fractions(holder: Any, key: Any) -> list[tuple[Any, Any]]:
    """Return where the floats of a value are: a list or an object, and a place in it."""
    value = holder[key]
    if isinstance(value, float):
        return [(holder, key)]
    if isinstance(value, list):
        return [place for index in range(len(value)) for place in _fractions(value, index)]
    if isinstance(value, dict):
        return [place for name in value for place in _fractions(value, name)]
    return []
