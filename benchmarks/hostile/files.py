"""Hostile model files, golden sets and pointers, in the folder of a job that follows a pointer."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import orjson
import torch

from benchmarks.harness.models import MODEL
from benchmarks.hostile.good import Good
from tests.pipeline.model.files import hostile
from tests.pipeline.model.files.test_hostile_files import EXPORTS, WithFile, WithSave
from tests.pipeline.model.files.test_model_files import export
from tests.pipeline.models import Layers

GOOD = "v1.pt2"
POINTER = "current"
_GOLDEN_ROWS = 50
GOLDEN = ".golden.jsonl"
_SPARSE_BYTES = 2 << 30


def write_good(folder: Path, good: Good) -> None:
    """Write the example's model and its golden set into the model folder, and a pointer to it."""
    shutil.copy(MODEL, folder / GOOD)
    rows = [
        orjson.dumps({"features": features, "prediction": prediction}, option=orjson.OPT_SERIALIZE_NUMPY)
        for features, prediction in zip(good.features[:_GOLDEN_ROWS], good.predictions, strict=False)
    ]
    (folder / f"{GOOD}{GOLDEN}").write_bytes(b"\n".join(rows))
    (folder / POINTER).write_text(GOOD)


def write(folder: Path) -> dict[str, bytes]:
    """Write hostile files beside the good ones; return what the pointer may hold, by name.

    Each of them that runs leaves the file `marker` in the folder.
    """
    # A model with constants, which the example's has not: there is a hostile change to each kind of part.
    base = hostile.parts_of(export(folder / "base.pt2", module=Layers()))
    marker = folder / "marker"
    pointers: dict[str, bytes] = {}
    for number, (name, (change, _)) in enumerate(EXPORTS.items()):
        hostile.write(folder / f"export-{number}.pt2", change(base, marker))
        pointers[name] = b"export-%d.pt2" % number
    for kind in (WithFile, WithSave):
        torch.jit.script(kind(str(marker))).save(str(folder / f"{kind.__name__}.pt"))
        pointers[f"TorchScript {kind.__name__}"] = f"{kind.__name__}.pt".encode()
    hostile.write(folder / "bomb.pt2", [*base, ("extra/x", bytes(50_000_000))], compressed="extra/x")
    pointers["a compressed part"] = b"bomb.pt2"
    for name, make in _NO_FILES.items():
        make(folder / f"{name}.pt2")
        pointers[f"a model that is a {name}"] = f"{name}.pt2".encode()
        (folder / f"golden-{name}.pt2").write_bytes(MODEL.read_bytes())
        make(folder / f"golden-{name}.pt2{GOLDEN}")
        pointers[f"a golden set that is a {name}"] = f"golden-{name}.pt2".encode()
    (folder / "deep.pt2").write_bytes(MODEL.read_bytes())
    (folder / f"deep.pt2{GOLDEN}").write_bytes(b"[" * 200_000)
    pointers["a golden set nested 200,000 deep"] = b"deep.pt2"
    for content in pointers.values():
        golden = folder / f"{content.decode()}{GOLDEN}"
        if not os.path.lexists(golden):
            shutil.copy(folder / f"{GOOD}{GOLDEN}", golden)
    return pointers | _POINTERS


def _sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(_SPARSE_BYTES)


_NO_FILES: dict[str, Callable[[Path], None]] = {
    "FIFO": os.mkfifo,
    "folder": Path.mkdir,
    "link out of the root": lambda path: path.symlink_to("/etc/passwd"),
    "sparse file of 2 GiB": _sparse,
}

_POINTERS = {
    "..": b"../v1.pt2",
    "a path outside": b"/etc/passwd",
    "another scheme": b"http://127.0.0.1/model.pt2",
    "NUL": b"v1\0.pt2",
    "not UTF-8": b"\xff\xfe",
    "10 MB": b"a" * 10_000_000,
    "control characters": b"\x1b[2J\xe2\x80\xae.pt2",
    "nothing": b"",
}
