"""What a run writes is for its user alone, and replaces earlier results only once the run has begun."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from loadtest.run_folder import (
    FolderError,
    Staging,
    append_to,
    held,
    make_fresh,
    make_private,
    new_file,
    note_of_earlier_results,
    replace_file,
)


@pytest.fixture(autouse=True)
def usual_umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_a_run_is_for_its_user_alone(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "one"
    make_private(folder)
    assert (mode(folder), mode(folder.parent)) == (0o700, 0o755)
    with Staging(folder, "cafe") as staging:
        new_file(staging.path / "results.jsonl").close()
        assert mode(staging.path) == 0o700
        staging.begin()
    replace_file(folder / "summary.json", b"{}")
    assert {path.name: mode(path) for path in folder.iterdir()} == {
        "results.jsonl": 0o600,
        "summary.json": 0o600,
    }


def test_a_folder_of_the_users_keeps_its_mode(tmp_path: Path) -> None:
    make_private(tmp_path / "mine")
    (tmp_path / "mine").chmod(0o755)
    make_private(tmp_path / "mine")
    assert mode(tmp_path / "mine") == 0o755
    # What a run writes there is private all the same, whatever was there.
    (tmp_path / "mine/pipeline.log").write_text("old")
    with new_file(tmp_path / "mine/pipeline.log") as file:
        file.write(b"new")
    assert mode(tmp_path / "mine/pipeline.log") == 0o600


@pytest.mark.parametrize("make_link", [Path.symlink_to, Path.hardlink_to])
def test_a_link_is_not_written_through(make_link: Callable[[Path, Path], None], tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    make_link(tmp_path / "results.jsonl", victim)
    make_link(tmp_path / ".summary.json.part", victim)
    with new_file(tmp_path / "results.jsonl") as file:
        file.write(b"results")
    replace_file(tmp_path / "summary.json", b"{}")
    assert victim.read_text() == "precious"
    assert (tmp_path / "results.jsonl").read_text() == "results"
    assert (tmp_path / "summary.json").read_text() == "{}"


def test_nor_appended_through(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "log").symlink_to(victim)
    with pytest.raises(OSError, match="log"):
        append_to(tmp_path / "log")
    with append_to(victim) as file:
        file.write(b", and more")
    assert victim.read_text() == "precious, and more"


def test_a_run_that_does_not_begin_leaves_no_trace(tmp_path: Path) -> None:
    (tmp_path / "results.jsonl").write_text("earlier")
    (tmp_path / "summary.json").write_text("{}")
    with Staging(tmp_path, "cafe") as staging, new_file(staging.path / "results.jsonl") as file:
        file.write(b"later")
    assert not staging.begun
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "results.jsonl": "earlier",
        "summary.json": "{}",
    }


def test_one_that_begins_replaces_results_and_goes_on_writing(tmp_path: Path) -> None:
    (tmp_path / "results.jsonl").write_text("earlier")
    (tmp_path / "summary.json").write_text("{}")
    with Staging(tmp_path, "cafe") as staging, new_file(staging.path / "results.jsonl") as file:
        file.write(b"first, ")
        staging.begin()
        # Of the earlier run, no figure stands beside results of this one.
        assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["results.jsonl"]
        file.write(b"second")
    assert (tmp_path / "results.jsonl").read_text() == "first, second"


def test_a_folder_has_one_run_at_a_time(tmp_path: Path) -> None:
    with held(tmp_path / "one"):
        with pytest.raises(FolderError, match="one is in use by another run: wait until it has ended, or"):
            held(tmp_path / "one").__enter__()
        with held(tmp_path / "two"):
            pass
    with held(tmp_path / "one"):
        pass
    assert list((tmp_path / "one").iterdir()) == []


def test_a_fresh_folder_is_nobody_elses(tmp_path: Path) -> None:
    names = [make_fresh(tmp_path / "runs" / "20260101-000000").name for _ in range(3)]
    assert names == ["20260101-000000", "20260101-000000-2", "20260101-000000-3"]
    assert {mode(tmp_path / "runs" / name) for name in names} == {0o700}


@pytest.mark.parametrize("make", [make_private, make_fresh, lambda folder: held(folder).__enter__()])
def test_a_folder_that_cannot_be_made(make: Callable[[Path], object], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FolderError, match=r"cannot be made \(Not a directory\): give another"):
        make(tmp_path / "file" / "runs" / "one")


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs a folder that nobody can write to: /proc")
def test_a_folder_that_cannot_be_written_to() -> None:
    with pytest.raises(FolderError, match=r"^/proc/self cannot be used \(.*\): give another"):
        held(Path("/proc/self")).__enter__()


def test_earlier_results_are_told_of(tmp_path: Path) -> None:
    assert note_of_earlier_results(tmp_path / "none") is None
    (tmp_path / "pipeline.log").touch()
    assert note_of_earlier_results(tmp_path) is None
    (tmp_path / "summary.json").touch()
    assert "holds results of an earlier run" in str(note_of_earlier_results(tmp_path))
