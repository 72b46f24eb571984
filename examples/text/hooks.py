"""The job's hooks for this model: from a text to token ids, and from its probability to a label.

--decode_hook=examples.text.hooks:decode --encode_hook=examples.text.hooks:encode
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from examples.text.words import PADDING, UNKNOWN, VOCABULARY

LENGTH = 16
_IDS = {word: token for token, word in enumerate(VOCABULARY)}


def decode(body: Any, attributes: Mapping[str, str]) -> dict[str, list[int]]:
    """Return the inputs `ids` and `mask` of a request: {"text": "…"}, or {"ids": [token ids]}.

    A text is cut after 16 words; unknown words become one token. Both fields are taken out of the body, so
    that they do not come back with the result.

    Raises:
        ValueError: There are no words, too many ids, or an id that the model has no embedding for.
    """
    if not isinstance(body, dict) or not {"text", "ids"} & body.keys():
        raise ValueError('expected {"text": "…"} or {"ids": [token ids]} as JSON')
    ids, text = body.pop("ids", None), body.pop("text", "")
    if ids is None:
        if not isinstance(text, str):
            raise ValueError(f"text: expected a string, got {text!r}")
        ids = [_IDS.get(word, UNKNOWN) for word in re.findall(r"\w+", text.lower())][:LENGTH]
    else:
        _check(ids)
    if not ids:
        raise ValueError("there are no words")
    padding = LENGTH - len(ids)
    return {"ids": ids + [PADDING] * padding, "mask": [1] * len(ids) + [0] * padding}


def encode(prediction: Any) -> dict[str, Any]:
    """Return the label, and how sure the model is of it: 0.5 to 1."""
    positive = float(prediction)
    label = "positive" if positive >= 0.5 else "negative"
    return {"label": label, "score": round(max(positive, 1 - positive), 4)}


def _check(ids: Any) -> None:
    # Here and not in the model: once a GPU is asked for a row that is not there, the process must end.
    if not isinstance(ids, list) or len(ids) > LENGTH:
        raise ValueError(f"ids: expected a list of {LENGTH} at most")
    for position, token in enumerate(ids):
        if type(token) is not int or not 0 <= token < len(VOCABULARY):
            raise ValueError(
                f"token {token!r} at position {position} is not one of 0 to {len(VOCABULARY) - 1}"
            )
