"""The copy that is checked and loaded: complete, its own, and gone afterwards."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import stat
import tempfile
from collections import namedtuple
from pathlib import Path

import pytest

from pipeline.model.files.private_copy import is_lack_of_room, private_copy
from pipeline.request.errors import ModelError

CONTENT = bytes(range(256)) * 100_000  # two chunks
LABEL = "--model_path: m"


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    return tmp_path / "temporary"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "m").write_bytes(CONTENT)
    return tmp_path / "m"


@pytest.mark.parametrize("is_private", [False, True])
def test_content_and_hash(file: Path, temporary: Path, is_private: bool) -> None:
    with private_copy(str(file), LABEL, is_private=is_private) as copy:
        assert Path(copy.path).read_bytes() == CONTENT
        assert copy.sha256 == hashlib.sha256(CONTENT).hexdigest()
        assert Path(copy.path).is_symlink() == is_private
        assert stat.S_IMODE(Path(copy.path).parent.stat().st_mode) == 0o700
    assert not list(temporary.iterdir())
    assert file.read_bytes() == CONTENT


def test_changes_of_the_file_do_not_reach_it(file: Path, temporary: Path) -> None:
    with private_copy(str(file), LABEL) as copy:
        file.write_bytes(b"other")
        assert Path(copy.path).read_bytes() == CONTENT


def test_a_file_that_changes_while_it_is_copied(
    file: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(copy: io.FileIO, content: memoryview, label: str) -> None:
        with file.open("ab") as more:
            more.write(b"x")
        copy.write(content)

    monkeypatch.setattr("pipeline.model.files.private_copy._write", write)
    with (
        pytest.raises(
            ModelError, match="^--model_path: m changed while it was read: write each model to a path"
        ),
        private_copy(str(file), LABEL),
    ):
        pass
    assert not list(temporary.iterdir())


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("none", ": there is no file"),
        ("fifo", " cannot be read: it is a FIFO"),
        ("", " cannot be read: it is a direct"),
    ],
)
def test_no_file(tmp_path: Path, name: str, reason: str) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(ModelError, match=f"^{LABEL}{reason}"), private_copy(str(tmp_path / name), LABEL):
        pass


def test_too_little_room(file: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda folder: usage(10, 3, 7))
    with (
        pytest.raises(
            ModelError,
            match=rf"^{LABEL} cannot be copied to \S+, .*\(the disk is full: it has 25,600,000 bytes, and 7 "
            r"are free\): make room, or name another folder by the environment variable TMPDIR",
        ) as caught,
        private_copy(str(file), LABEL),
    ):
        pass
    assert caught.value.__cause__ is not None
    assert is_lack_of_room(caught.value.__cause__)
    assert not list(temporary.iterdir())


def test_a_disk_that_fills_up(file: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(io.FileIO):
        def write(self, content: object) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    real = open

    def opened(path: object, mode: str, **named: object) -> object:
        return Full(str(path), "w") if mode == "wb" else real(path, mode, **named)  # type: ignore[call-overload]

    monkeypatch.setattr("builtins.open", opened)
    with (
        pytest.raises(ModelError, match="the disk is full: No space left on device") as caught,
        private_copy(str(file), LABEL),
    ):
        pass
    assert caught.value.__cause__ is not None
    assert is_lack_of_room(caught.value.__cause__)
