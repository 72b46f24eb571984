"""Model files as an attacker would make them: an export or TorchScript, its archive changed."""

from __future__ import annotations

import io
import json
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

# The names and contents of an archive's parts, in order, without the first folder.
Parts = list[tuple[str, bytes]]

PROGRAM = "models/model.json"
WEIGHTS = "data/weights/model_weights_config.json"
CONSTANTS = "data/constants/model_constants_config.json"
EXAMPLES = "data/sample_inputs/model.pt"


class Bomb:
    """An object that makes a file when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self._file,))


def pickled(thing: Any) -> bytes:
    """Return what torch.save writes of it."""
    content = io.BytesIO()
    torch.save(thing, content)
    return content.getvalue()


def touching(marker: Path) -> str:
    """Return a Python expression that makes the file."""
    return f"__import__('pathlib').Path({str(marker)!r}).touch()"


def parts_of(path: str | Path) -> Parts:
    with zipfile.ZipFile(path) as archive:
        return [(info.filename.split("/", 1)[1], archive.read(info)) for info in archive.infolist()]


def write(path: Path, parts: Parts, compressed: str = "", top: str = "m") -> str:
    """Write an archive, also one with a part twice; the part named `compressed` is."""
    with zipfile.ZipFile(path, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, content in parts:
            method = zipfile.ZIP_DEFLATED if name == compressed else zipfile.ZIP_STORED
            archive.writestr(zipfile.ZipInfo(f"{top}/{name}"), content, method)
    return str(path)


def replaced(parts: Parts, name: str, content: bytes) -> Parts:
    assert name in dict(parts)
    return [(each, content if each == name else old) for each, old in parts]


def with_json(parts: Parts, name: str, change: Callable[[Any], None]) -> Parts:
    """Return the parts with the JSON of one of them changed."""
    content = json.loads(dict(parts)[name])
    change(content)
    return replaced(parts, name, json.dumps(content).encode())
