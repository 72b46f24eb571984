"""What a model said when it failed."""

from __future__ import annotations

_TORCHSCRIPT = "The following operation failed in the TorchScript interpreter."
_END_OF_TRACEBACK = "<--- HERE\n"


def said(error: BaseException) -> str:
    """Return the message of an error that a model raised, for a person.

    TorchScript's begins with a traceback of its code, often more than the 1,024 bytes of a dead letter's
    reason; what went wrong is behind it.
    """
    text = str(error)
    return text.rpartition(_END_OF_TRACEBACK)[2].strip() if text.startswith(_TORCHSCRIPT) else text
