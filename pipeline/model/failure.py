"""What a model said when it failed."""

from __future__ import annotations

_TORCHSCRIPT = "The following operation failed in the TorchScript interpreter."
_END_OF_TRACEBACK = "<--- HERE\n"
# A trace that was saved tells of the Python that it was made in, too.
_ORIGINAL_CODE = "Traceback of TorchScript, original code"
_MESSAGE = "\nRuntimeError: "


def said(error: BaseException) -> str:
    """Return the message of an error that a model raised, for a person.

    TorchScript's begins with a traceback of its code, often more than the 1,024 bytes of a dead letter's
    reason; what went wrong is behind it.
    """
    text = str(error)
    if not text.startswith(_TORCHSCRIPT):
        return text
    rest = text.rpartition(_END_OF_TRACEBACK)[2]
    if _ORIGINAL_CODE in rest and _MESSAGE in rest:
        rest = _MESSAGE + rest.rpartition(_MESSAGE)[2]
    return rest.strip()
