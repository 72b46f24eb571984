"""Checks a file of tensors, as torch.save writes it: a state_dict, or the example inputs of an export."""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.model.files.archive import BESIDES, Archive

# One pickle, which torch.load(weights_only=True) reads, and the bytes of the tensors.
TENSORS: Mapping[str, bool] = {r"data\.pkl": False, r"data/\d{1,7}": False, **BESIDES}


def check(path: str) -> None:
    """Check an archive of tensors.

    Raises:
        RefusedPartError: A part is not as torch.save writes it.
        zipfile.BadZipFile: The file is damaged.
        RuntimeError: It is, to torch's reader.
    """
    Archive(path, TENSORS).text("data.pkl")


def describe_refusal(error: Exception) -> str:
    """Return what torch's unpickler refuses, without its advice on how to have it accepted."""
    text = str(error).partition("WeightsUnpickler error:")[2] or str(error)
    return text.strip().partition(" Please ")[0].partition("\n")[0].removesuffix(".")
