"""The file: written, read, and refused where it is none."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from loadtest.profile.profile import ProfileError, read, write
from tests.loadtest.profile.made_profile import made_profile


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "profile.json"
    write(path, made_profile())
    assert read(path) == made_profile()


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"{", "is not JSON"),
        (b"[]", "is no profile"),
        (b'{"format": "other"}', "is no profile"),
        (b'{"format": "streaming inference profile", "version": 99}', "version 99, this program reads 1"),
        (b'{"format": "streaming inference profile", "version": 1}', "missing required field"),
    ],
)
def test_what_is_not_one_of_ours_is_refused(content: bytes, problem: str, tmp_path: Path) -> None:
    path = tmp_path / "profile.json"
    path.write_bytes(content)
    with pytest.raises(ProfileError, match=problem) as caught:
        read(path)
    assert str(path) in str(caught.value)
    assert "./launch.sh loadtest profile" in str(caught.value)


def test_a_wrong_field_is_named(tmp_path: Path) -> None:
    path = tmp_path / "profile.json"
    write(path, made_profile())
    content = orjson.loads(path.read_bytes())
    content["job"]["service"]["a"]["value"] = "fast"
    path.write_bytes(orjson.dumps(content))
    with pytest.raises(ProfileError, match=r"Expected `float`.*job.service.a.value"):
        read(path)


def test_an_empty_one_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "profile.json"
    write(path, made_profile(job=False))
    with pytest.raises(ProfileError, match="neither a job nor an endpoint"):
        read(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match=r"none.json cannot be read"):
        read(tmp_path / "none.json")
