"""Files that may be anything: only regular ones are read, up to a size, and none is waited for."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from pipeline.model.files.regular_file import read_regular


def test_a_file_and_a_link_to_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "link").symlink_to("file")
    assert read_regular(tmp_path / "file", 7) == b"content"
    assert read_regular(tmp_path / "link", 7) == b"content"
    with pytest.raises(OSError, match="^it has more than 6 bytes$"):
        read_regular(tmp_path / "file", 6)
    with pytest.raises(FileNotFoundError):
        read_regular(tmp_path / "none", 7)


def test_a_sparse_file_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(OSError, match="it has more than 1,000 bytes"):
        read_regular(tmp_path / "sparse", 1000)


def test_what_is_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(OSError, match="^it is a FIFO: expected a file$"):
        read_regular(tmp_path / "fifo", 7)
    with pytest.raises(OSError, match="^it is a directory: expected a file$"):
        read_regular(tmp_path, 7)
    with pytest.raises(OSError, match="^it is a device or a socket: expected a file$"):
        read_regular("/dev/zero", 7)
    monkeypatch.chdir(tmp_path)  # a socket's path is short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        with pytest.raises(OSError, match="No such device"):
            read_regular("socket", 7)
