"""A job with code of the user's: hooks and a --model_class of a package that is installed on the workers."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson
import pytest
import torch

from benchmarks.harness.fused_stage import FusedStage
from benchmarks.harness.sdk_harness import Command, this_python
from benchmarks.harness.staging import Staged, staged
from tests.integration.staged.messages import request
from tests.pipeline.job.test_command_line import line

INSTALLED = Path(__file__).parent / "installed"
PACKAGE = "triage"
HOLD, FAIL = 1000, 666  # as the model has them


@dataclass(frozen=True)
class UserJob:
    """A staged job.

    Attributes:
        folder: What the model tells goes there.
        temporary: For the temporary files of processes.
    """

    staged: Staged
    folder: Path
    temporary: Path

    @property
    def stage(self) -> FusedStage:
        """Return the stage that a worker runs."""
        return FusedStage.of(self.staged.proto)

    def told(self, pid: int) -> Counter[str]:
        """Return what the model has told in a process, and how often."""
        log = self.folder / f"{pid}.log"
        return Counter(log.read_text().splitlines() if log.exists() else ())

    def go(self, number: int) -> None:
        """Let batches go on that hold for this number."""
        (self.folder / f"go-{number}").touch()


def user_job(folder: Path, **flags: str) -> UserJob:
    """Stage a job whose model sums two numbers. `folder` is a new one.

    Its hooks are imported here, as a launch does to check the flags; its model is not.
    """
    told, temporary = folder / "told", folder / "temporary"
    for each in (told, temporary):
        each.mkdir(parents=True)
    weights = folder / "sum.pt"
    torch.save({"weight": torch.ones(2)}, weights)
    argv = line(
        model_path=str(weights),
        model_class=f"{PACKAGE}.model:Sum",
        model_params=orjson.dumps({"folder": str(told)}).decode(),
        decode_hook=f"{PACKAGE}.hooks:decode",
        encode_hook=f"{PACKAGE}.hooks:encode",
        input_shape="2",
        **flags,
    )
    return UserJob(staged_with_package(folder / "job", argv), told, temporary)


def staged_with_package(folder: Path, argv: Sequence[str]) -> Staged:
    """Stage a job where the user's package can be imported, and forget the package again."""
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.syspath_prepend(str(INSTALLED))
            return staged(folder, argv)
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0] == PACKAGE]:
            del sys.modules[name]


def python_with(*folders: Path, temporary: Path | None = None) -> Command:
    """Return the command of an SDK process that finds what is in these folders, too.

    Args:
        folders: With modules.
        temporary: The folder for its temporary files; None: that of this process.
    """

    def command(variables: Mapping[str, str]) -> Sequence[str]:
        path = os.pathsep.join(map(str, folders))
        files = temporary or tempfile.gettempdir()
        return ("env", f"PYTHONPATH={path}", f"TMPDIR={files}", *this_python(variables))

    return command


def hooks_alone(folder: Path) -> Path:
    """Return a folder in which the user's package has its hooks, and no model."""
    package = folder / PACKAGE
    package.mkdir(parents=True)
    for name in ("__init__.py", "hooks.py"):
        shutil.copy(INSTALLED / PACKAGE / name, package)
    return folder


def sum_of(request_id: str, first: float, second: float, **fields: str) -> bytes:
    """Return a request for the sum of two numbers; `fields` are the body's others."""
    return request(request_id, {"text": f"{first:g} {second:g}", **fields})
