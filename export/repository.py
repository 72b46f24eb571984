"""A model repository of Triton on this machine: a folder for each model, in it one for each version."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

_CONFIG = "config.pbtxt"


class RepositoryError(Exception):
    """A version cannot be added; the message says why, and what to do. The repository is as it was."""


def version_to_add(repository: Path, name: str, config: str, wanted: int | None) -> int:
    """Return the number of a model's new version: the one that is wanted, or the next.

    Args:
        repository: It need not exist.
        name: Of the model.
        config: Its config, which all of its versions share.
        wanted: The number; None: the one after the highest, from 1.

    Raises:
        RepositoryError: It exists already, or the versions that do have another config.
    """
    folder = repository / name
    if repository.exists() and not repository.is_dir():
        raise RepositoryError(f"--out: {repository} is not a folder")
    if not folder.exists():
        return wanted or 1
    if any(folder.iterdir()):
        _check_config(folder, config)
    found = [int(each.name) for each in folder.iterdir() if re.fullmatch(r"[1-9][0-9]*", each.name)]
    if wanted in found:
        raise RepositoryError(
            f"--version: {folder / str(wanted)} exists, and is not overwritten: leave --version out, for "
            f"{max(found) + 1}"
        )
    return wanted or max(found, default=0) + 1


def _check_config(folder: Path, config: str) -> None:
    try:
        there = (folder / _CONFIG).read_text()
    except OSError as error:
        raise RepositoryError(
            f"--out: {folder} exists, and its {_CONFIG} cannot be read ({error.strerror}): choose another "
            "--model-name or --out"
        ) from None
    if there == config:
        return
    lines = there.splitlines(), config.splitlines()
    changed = (
        [line for line in lines[0] if line not in lines[1]],
        [line for line in lines[1] if line not in lines[0]],
    )
    raise RepositoryError(
        f"--out: {folder / _CONFIG} is that of other versions, and would have to change, from {changed[0]} "
        f"to {changed[1]}: export with the same flags, or under another --model-name"
    )


def add_version(repository: Path, name: str, config: str, version: int, files: Mapping[str, Path]) -> Path:
    """Add a version to a model, or the model to the repository; return the version's folder.

    All of it is written beside the repository, and then moved to its place: a Triton that looks sees the
    whole, or nothing.

    Args:
        repository: Made if it is not there.
        name: Of the model.
        config: Its config.
        version: A number that `version_to_add` returned.
        files: What the version's folder holds, by the name there.

    Raises:
        RepositoryError: It cannot be written, or somebody else was first.
    """
    folder = repository / name
    place = folder / str(version)
    try:
        parent = repository.resolve().parent
        parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{repository.name}-", dir=parent) as beside:
            made = Path(beside) / name
            (made / str(version)).mkdir(parents=True)
            for file, source in files.items():
                shutil.copyfile(source, made / str(version) / file)
            (made / _CONFIG).write_text(config)
            repository.mkdir(exist_ok=True)
            if folder.exists() and any(folder.iterdir()):
                os.rename(made / str(version), place)
            else:
                os.rename(made, folder)
    except OSError as error:
        raise RepositoryError(f"--out: {place} cannot be written: {error.strerror or error}") from error
    return place
