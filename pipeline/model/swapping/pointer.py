"""The pointer: a small file that names the model to run, and the folder that models must lie under."""

from __future__ import annotations

import os
from pathlib import Path

from pipeline.model.files.stored_files import StoredFiles, is_local
from pipeline.request.errors import ModelError

_MOST_POINTER_BYTES = 4096


class ModelPointer:
    """A small file that holds a model's path, relative to the root or full, and nothing else."""

    def __init__(self, files: StoredFiles, pointer: str, root: str | None = None) -> None:
        """Name the pointer; nothing is read yet.

        Args:
            files: Which the pointer is among.
            pointer: --model_pointer, on this machine or on the storage of `files`.
            root: --model_root, the folder that models lie under; None: the pointer's own folder.
        """
        self._files = files
        self._pointer = pointer
        self._root = root if root is not None else _folder(pointer)

    def path(self) -> str:
        """Return the full path of the model that the pointer names, with symbolic links followed.

        Raises:
            ModelError: The pointer cannot be read, or names something outside the root.
        """
        try:
            content = self.read()
        except OSError as error:
            raise ModelError(str(error)) from error
        return self.resolve(content)

    def read(self) -> str:
        """Return the pointer's content, without white space around it.

        Raises:
            OSError: The pointer cannot be read, is a link out of its folder, empty, larger than 4 KiB or not
                UTF-8.
        """
        try:
            self._require_own_file()
            content = self._files.read_small(self._pointer, _MOST_POINTER_BYTES).strip()
        except OSError as error:
            raise OSError(f"--model_pointer: {error}") from error
        if not content:
            raise OSError(f"--model_pointer: {self._pointer} is empty: write a model's path into it")
        return content

    def resolve(self, content: str) -> str:
        """Return the full path of the model that `content` names, with symbolic links followed.

        Raises:
            ModelError: It is outside the root.
        """
        # Nobody means a path with a line break or a NUL in it. Such content is not shown either.
        if not content.isprintable():
            raise ModelError(
                f"--model_pointer: {self._pointer} holds {len(content)} characters, with line breaks or "
                f"others that cannot be printed, which is no path under --model_root ({self._root})"
            )
        path = self._inside(content)
        if path is None:
            target = self._target(content)
            where = f"a link to {target!r}, which" if target is not None else "which"
            raise ModelError(
                f"--model_pointer: {self._pointer} holds {content[:200]!r}, {where} is no path under "
                f"--model_root ({self._root})"
            )
        return path

    def beside(self, path: str, suffix: str) -> str:
        """Return the full path of a file beside a model, with symbolic links followed as the model's were.

        Args:
            path: The model's full path, as `resolve` returns it.
            suffix: What the file's name has after the model's.

        Raises:
            ModelError: It is outside the root.
        """
        inside = self._inside(path + suffix)
        if inside is None:
            target = self._target(path + suffix)
            raise ModelError(
                f"--model_pointer: {path}{suffix} is a link that leads out of --model_root ({self._root}), "
                f"to {target!r}"
            )
        return inside

    def _inside(self, path: str) -> str | None:
        inside = _local_path if is_local(self._root) else _remote_path
        return inside(self._root, path)

    def _target(self, path: str) -> str | None:
        """Return where a path leads that links lead out of the root; None if it is outside by its text."""
        if not (is_local(self._root) and is_local(path)):
            return None
        folder = os.path.realpath(self._root)
        joined = os.path.join(folder, path)
        roots = {folder, os.path.abspath(self._root)}
        if not any(os.path.normpath(joined).startswith(f"{root}/") for root in roots):
            return None
        return os.path.realpath(joined)

    def _require_own_file(self) -> None:
        """Refuse a pointer that is a link to a file elsewhere, whose content would be taken for a path.

        Raises:
            OSError: It is.
        """
        if is_local(self._pointer):
            folder = os.path.dirname(self._pointer)
            if _local_path(folder, os.path.abspath(self._pointer)) is None:
                target = os.path.realpath(self._pointer)
                raise OSError(f"{self._pointer} is a link that leads out of its folder, to {target!r}")


def _folder(path: str) -> str:
    return os.path.dirname(path) if is_local(path) else path.rpartition("/")[0]


def _local_path(root: str, content: str) -> str | None:
    folder = Path(os.path.realpath(root))
    path = Path(os.path.realpath(folder / content))
    return str(path) if is_local(content) and folder in path.parents else None


def _remote_path(root: str, content: str) -> str | None:
    start = root.rstrip("/") + "/"
    path = start + content if is_local(content) else content
    parts = path.removeprefix(start).split("/")
    # Some of these filesystems have real folders, where .. leads up.
    return path if path.startswith(start) and not {"", ".", ".."} & set(parts) else None
