"""How deeply JSON from outside is nested, found in its bytes, before anything parses it.

Parsers recurse, and so does what walks the objects that they return: `pickle`, `repr`, Beam's sampling of
element sizes. All end with an error of their own somewhere between 250 and 1,000 levels.
"""

from __future__ import annotations

import re

import numpy as np

# What is nested deeper is refused. Far from any limit of what walks it later, and from any model's answer.
MAX_JSON_DEPTH = 100

# A string that is never closed matches, too: else each quote in it would be tried as the beginning of one.
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*+(?:"|\Z)', re.DOTALL)
# `[` and `{` differ in this bit alone, and so do `]` and `}`.
_BRACE = 0x20


def too_deep(data: bytes) -> bool:
    """Return whether JSON is nested more than MAX_JSON_DEPTH deep.

    Where there are no more arrays and objects than that, as in most answers, it takes 7 µs for the 154 kB of
    64 × 256 numbers, whose parsing takes 280. Else it takes about 90.
    """
    found = 0
    for opening in (b"[", b"{"):
        position = data.find(opening)
        while position >= 0:
            found += 1
            if found > MAX_JSON_DEPTH:
                return depth(data) > MAX_JSON_DEPTH
            position = data.find(opening, position + 1)
    return False


def containers(data: bytes) -> int:
    """Return how many arrays and objects there are at most: brackets inside strings are counted, too."""
    return int(np.count_nonzero(_folded(data) == ord("{")))


def depth(data: bytes) -> int:
    """Return how many levels of arrays and objects a parser enters, at most, before it finds an error."""
    folded = _folded(_STRING.sub(b"", data))
    steps = (folded == ord("{")).view(np.int8) - (folded == ord("}")).view(np.int8)
    levels = np.cumsum(steps[steps != 0], dtype=np.int32)
    return int(levels.max(initial=0))


def _folded(data: bytes) -> np.ndarray:
    return np.frombuffer(data, np.uint8) | _BRACE
