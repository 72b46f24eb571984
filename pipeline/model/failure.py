"""What a model said when it failed."""

from __future__ import annotations

import re

_TORCHSCRIPT = "The following operation failed in the TorchScript interpreter."
_END_OF_TRACEBACK = "<--- HERE\n"
# Between the two are further lines of that code and, of a saved trace, the Python that it was made in.
_MESSAGE = re.compile(r"^[\w.]*(?:Error|Exception): ", re.MULTILINE)


def said(error: BaseException) -> str:
    """Return the message of an error that a model raised, for a person.

    TorchScript's begins with a traceback of its code, often more than the 1,024 bytes of a dead letter's
    reason; what went wrong is behind it.
    """
    text = str(error)
    if not text.startswith(_TORCHSCRIPT):
        return text
    rest = text.rpartition(_END_OF_TRACEBACK)[2]
    message = _MESSAGE.search(rest)
    return rest[message.start() if message else 0 :].strip()
