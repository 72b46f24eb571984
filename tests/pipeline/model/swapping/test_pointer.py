"""The pointer: which paths it may name, on this machine and on other filesystems."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.inference.local.beam_files import BEAM_FILES
from pipeline.model.swapping.pointer import ModelPointer
from pipeline.request.errors import ModelError
from tests.pipeline.memory_files import OBJECTS


@pytest.fixture(autouse=True)
def no_objects() -> Iterator[None]:
    OBJECTS.clear()
    yield
    OBJECTS.clear()


@pytest.mark.parametrize(
    ("root", "content", "path"),
    [
        (None, "v1.pt2", "models/v1.pt2"),
        (None, " \t2026/v1 final.pt2 \r\n", "models/2026/v1 final.pt2"),
        (None, "{tmp}/models/v1.pt2", "models/v1.pt2"),
        (None, "old/../v1.pt2", "models/v1.pt2"),
        ("{tmp}", "models/v1.pt2", "models/v1.pt2"),
        ("{tmp}/elsewhere/", "v1.pt2", "elsewhere/v1.pt2"),
    ],
)
def test_local(tmp_path: Path, root: str | None, content: str, path: str) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models/current").write_text(content.format(tmp=tmp_path))
    pointer = ModelPointer(BEAM_FILES, str(tmp_path / "models/current"), root and root.format(tmp=tmp_path))
    assert pointer.path() == str(tmp_path / path)


def test_relative_to_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "current").write_text("v1.pt2")
    assert ModelPointer(BEAM_FILES, "current").path() == str(tmp_path / "v1.pt2")


@pytest.mark.parametrize(
    "content",
    [
        "..",
        ".",
        "../v1.pt2",
        "a/../../v1.pt2",
        "/etc/passwd",
        "{tmp}/models",
        "{tmp}/models-evil/v1.pt2",
        "out/v1.pt2",
        "out.pt2",
        "gs://bucket/v1.pt2",
        "file://{tmp}/models/v1.pt2",
        "v1.pt2\nv2.pt2",
        "v1.pt2\0",
    ],
)
def test_local_outside(tmp_path: Path, content: str) -> None:
    root = tmp_path / "models"
    root.mkdir()
    (tmp_path / "secret").mkdir()
    (root / "out").symlink_to(tmp_path / "secret")
    (root / "out.pt2").symlink_to("/etc/passwd")
    (root / "current").write_text(content.format(tmp=tmp_path))
    with pytest.raises(ModelError) as caught:
        ModelPointer(BEAM_FILES, str(root / "current")).path()
    text = str(caught.value)
    # What is no path at all may be a line of any file, and is not shown.
    shown = "'" if content.isprintable() else f"{len(content)} characters, with line breaks"
    assert text.startswith(f"--model_pointer: {root}/current holds {shown}")
    assert text.endswith(f"which is no path under --model_root ({root})")


@pytest.mark.parametrize(
    ("content", "target"),
    [
        ("out.pt2", "elsewhere/v1.pt2"),
        ("{root}/out.pt2", "elsewhere/v1.pt2"),
        ("folder/v1.pt2", "elsewhere/v1.pt2"),
        ("folder/gone.pt2", "elsewhere/gone.pt2"),
        ("folder/../v1.pt2", "v1.pt2"),
        ("../elsewhere/v1.pt2", None),
        ("{tmp}/elsewhere/v1.pt2", None),
        ("models/../../elsewhere/v1.pt2", None),
    ],
)
@pytest.mark.parametrize("root", ["models", "link"])
def test_a_link_out_of_the_root_says_where_it_leads(
    tmp_path: Path, content: str, target: str | None, root: str
) -> None:
    """Nothing of the file that is there is shown."""
    (tmp_path / "models").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/v1.pt2").write_text("secret")
    (tmp_path / "link").symlink_to("models")
    (tmp_path / "models/out.pt2").symlink_to(tmp_path / "elsewhere/v1.pt2")
    (tmp_path / "models/folder").symlink_to("../elsewhere")
    content = content.format(root=tmp_path / root, tmp=tmp_path)
    (tmp_path / root / "current").write_text(content)
    with pytest.raises(ModelError) as caught:
        ModelPointer(BEAM_FILES, str(tmp_path / root / "current")).path()
    where = "" if target is None else f"a link to '{tmp_path}/{target}', "
    assert str(caught.value) == (
        f"--model_pointer: {tmp_path}/{root}/current holds {content!r}, {where}which is no path under "
        f"--model_root ({tmp_path}/{root})"
    )


def test_symbolic_links_that_stay_inside(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "models")
    (tmp_path / "models/newest.pt2").symlink_to("v2.pt2")
    (tmp_path / "models/current").write_text("newest.pt2")
    pointer = ModelPointer(BEAM_FILES, str(tmp_path / "link/current"))
    # What was looked at is what is loaded, whatever becomes of the link meanwhile.
    assert pointer.path() == str(tmp_path / "models/v2.pt2")


def test_a_file_beside_a_model(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "models/v1.pt2.golden.jsonl").symlink_to("shared.jsonl")
    (tmp_path / "models/v2.pt2.golden.jsonl").symlink_to(tmp_path / "secret")
    pointer = ModelPointer(BEAM_FILES, str(tmp_path / "models/current"))
    beside = pointer.beside(str(tmp_path / "models/v1.pt2"), ".golden.jsonl")
    assert beside == str(tmp_path / "models/shared.jsonl")
    with pytest.raises(ModelError) as caught:
        pointer.beside(str(tmp_path / "models/v2.pt2"), ".golden.jsonl")
    assert str(caught.value) == (
        f"--model_pointer: {tmp_path}/models/v2.pt2.golden.jsonl is a link that leads out of --model_root "
        f"({tmp_path}/models), to '{tmp_path}/secret'"
    )
    remote = ModelPointer(BEAM_FILES, "memory://bucket/current")
    assert remote.beside("memory://bucket/v1.pt2", ".x") == "memory://bucket/v1.pt2.x"


def test_a_pointer_that_is_a_link(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "models/2026").mkdir(parents=True)
    (tmp_path / "models/2026/current").write_text("v1.pt2")
    pointer = ModelPointer(BEAM_FILES, str(tmp_path / "models/current"))
    # As Kubernetes mounts a ConfigMap.
    (tmp_path / "models/current").symlink_to("2026/current")
    assert pointer.path() == str(tmp_path / "models/v1.pt2")
    (tmp_path / "models/current").unlink()
    (tmp_path / "models/current").symlink_to(tmp_path / "secret")
    with pytest.raises(
        OSError, match=f"models/current is a link that leads out of its folder, to '{tmp_path}/se"
    ):
        pointer.read()


def test_a_pointer_that_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "current")
    with pytest.raises(OSError, match="current cannot be read: it is a FIFO"):
        ModelPointer(BEAM_FILES, str(tmp_path / "current")).read()


@pytest.mark.parametrize("root", [None, "memory://bucket/models", "memory://bucket/models/"])
def test_another_filesystem(root: str | None) -> None:
    for content in ("2026/v1.pt2", "memory://bucket/models/2026/v1.pt2"):
        OBJECTS["memory://bucket/models/current"] = f"{content}\n".encode()
        pointer = ModelPointer(BEAM_FILES, "memory://bucket/models/current", root)
        assert pointer.path() == "memory://bucket/models/2026/v1.pt2"


def test_at_the_top_of_a_bucket() -> None:
    OBJECTS["memory://bucket/current"] = b"v1.pt2"
    assert ModelPointer(BEAM_FILES, "memory://bucket/current").path() == "memory://bucket/v1.pt2"


@pytest.mark.parametrize(
    "content",
    [
        "../v1.pt2",
        "a/../v1.pt2",
        "./v1.pt2",
        "/v1.pt2",
        "a//v1.pt2",
        "a/",
        "memory://bucket/models/",
        "memory://bucket/models/../v1.pt2",
        "memory://bucket/models-evil/v1.pt2",
        "memory://bucket/v1.pt2",
        "memory://other/models/v1.pt2",
        "MEMORY://bucket/models/v1.pt2",
        "gs://bucket/models/v1.pt2",
    ],
)
def test_another_filesystem_outside(content: str) -> None:
    OBJECTS["memory://bucket/models/current"] = content.encode()
    with pytest.raises(ModelError, match="no path under --model_root"):
        ModelPointer(BEAM_FILES, "memory://bucket/models/current").path()


def test_a_pointer_and_models_in_different_places(tmp_path: Path) -> None:
    OBJECTS["memory://bucket/current"] = b"v1.pt2"
    pointer = ModelPointer(BEAM_FILES, "memory://bucket/current", str(tmp_path))
    assert pointer.path() == str(tmp_path / "v1.pt2")
    (tmp_path / "current").write_text("v1.pt2")
    pointer = ModelPointer(BEAM_FILES, str(tmp_path / "current"), "memory://bucket")
    assert pointer.path() == "memory://bucket/v1.pt2"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "there is no file memory://bucket/current"),
        (b"", "memory://bucket/current is empty: write a model's path into it"),
        (b" \n", "memory://bucket/current is empty"),
        (b"x" * 4097, "memory://bucket/current cannot be read: it has more than 4,096 bytes"),
        (b"\xff", "memory://bucket/current is not UTF-8"),
        (RuntimeError("storage is away"), "memory://bucket/current cannot be read: storage is away"),
    ],
)
def test_unreadable(content: bytes | Exception | None, reason: str) -> None:
    if content is not None:
        OBJECTS["memory://bucket/current"] = content
    pointer = ModelPointer(BEAM_FILES, "memory://bucket/current")
    with pytest.raises(OSError, match=f"^--model_pointer: {reason}"):
        pointer.read()
    with pytest.raises(ModelError, match=f"^--model_pointer: {reason}"):
        pointer.path()
