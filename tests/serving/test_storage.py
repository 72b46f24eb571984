"""Cloud Storage is a loopback server that speaks what is needed of its JSON API."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import orjson
import pytest

from serving.storage import StorageError, fetch
from tests.loopback import QuietHandler, serving


class CloudStorage(ThreadingHTTPServer):
    """One bucket named `bucket`, listed in pages of two objects."""

    def __init__(self, objects: dict[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.objects = objects
        self.downloads: list[str] = []


class _Handler(QuietHandler):
    server: CloudStorage

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        if url.path == "/storage/v1/b/bucket/o":
            self._list(query)
        elif url.path.startswith("/download/storage/v1/b/bucket/o/") and query["alt"] == "media":
            name = unquote(url.path.removeprefix("/download/storage/v1/b/bucket/o/"))
            self.server.downloads.append(name)
            self._answer(200, self.server.objects[name])
        else:
            error = {"error": {"code": 404, "message": "The specified bucket does not exist."}}
            self._answer(404, orjson.dumps(error))

    def _list(self, query: dict[str, str]) -> None:
        names = sorted(name for name in self.server.objects if name.startswith(query.get("prefix", "")))
        begin = int(query.get("pageToken", 0))
        answer: dict[str, Any] = {
            "items": [{"name": name, "bucket": "bucket"} for name in names[begin : begin + 2]]
        }
        if begin + 2 < len(names):
            answer["nextPageToken"] = str(begin + 2)
        self._answer(200, orjson.dumps(answer))

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Iterator[CloudStorage]:
    objects = {
        "model.pt2": b"at the top",
        "models/a/model.pt2": b"the model",
        "models/a/notes.txt": b"notes",
        "models/a/old/model.pt2": b"an older one",
        "models/ab/model.pt2": b"of another prefix",
        "models/two/x.pt2": b"x",
        "models/two/y.pt2": b"y",
    }
    server = CloudStorage(objects)
    with serving(server):
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{server.server_port}")
        yield server


@pytest.mark.parametrize("uri", ["gs://bucket/models/a", "gs://bucket/models/a/"])
def test_the_only_model_of_a_prefix(cloud: CloudStorage, uri: str, tmp_path: Path) -> None:
    file = fetch(uri, None, tmp_path)
    assert file == tmp_path / "model.pt2"
    assert file.read_bytes() == b"the model"
    assert cloud.downloads == ["models/a/model.pt2"]


def test_a_bucket_without_a_prefix(cloud: CloudStorage, tmp_path: Path) -> None:
    assert fetch("gs://bucket", None, tmp_path).read_bytes() == b"at the top"


def test_a_single_object(cloud: CloudStorage, tmp_path: Path) -> None:
    assert fetch("gs://bucket/models/two/y.pt2", None, tmp_path).read_bytes() == b"y"


def test_a_named_object(cloud: CloudStorage, tmp_path: Path) -> None:
    assert fetch("gs://bucket/models/two", "y.pt2", tmp_path) == tmp_path / "y.pt2"
    assert cloud.downloads == ["models/two/y.pt2"]


@pytest.mark.parametrize(
    ("uri", "model_file", "message"),
    [
        ("gs://bucket/models/two", None, r"must hold one model file .* it holds x.pt2, y.pt2: name the file"),
        ("gs://bucket/models/two", "z.pt2", "--model_file: there is no z.pt2 in gs://bucket/models/two"),
        ("gs://bucket/models/none", None, "it holds no file"),
        ("gs://another/models", None, r"gs://another/models cannot be read \(404 .*objectViewer"),
    ],
)
def test_what_cannot_be_had(
    cloud: CloudStorage, uri: str, model_file: str | None, message: str, tmp_path: Path
) -> None:
    with pytest.raises(StorageError, match=message):
        fetch(uri, model_file, tmp_path)
    assert cloud.downloads == []


def test_local_folders_and_files(tmp_path: Path) -> None:
    model = tmp_path / "model.pt2"
    model.touch()
    assert fetch(str(tmp_path), None, tmp_path) == model
    assert fetch(str(model), None, tmp_path) == model
    (tmp_path / "records.jsonl").touch()
    (tmp_path / "folder.pt2").mkdir()
    assert fetch(str(tmp_path), None, tmp_path) == model
    assert fetch(str(tmp_path), "records.jsonl", tmp_path) == tmp_path / "records.jsonl"
    (tmp_path / "other.pth").touch()
    with pytest.raises(StorageError, match="it holds model.pt2, other.pth, records.jsonl"):
        fetch(str(tmp_path), None, tmp_path)


def test_a_file_of_any_name_where_it_is_the_only_one(tmp_path: Path) -> None:
    (tmp_path / "weights.bin").touch()
    assert fetch(str(tmp_path), None, tmp_path) == tmp_path / "weights.bin"


@pytest.fixture(params=["local", "cloud"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., str]:
    """Return what makes a place with files of the given paths, and returns its URI."""
    cloud: CloudStorage = request.getfixturevalue("cloud")

    def make(*names: str) -> str:
        for name in names:
            cloud.objects[f"made/{name}"] = name.encode()
            path = tmp_path / "made" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(name)
        # As Cloud Storage's console makes folders.
        cloud.objects["made/empty/"] = b""
        return "gs://bucket/made" if request.param == "cloud" else f"{tmp_path}/made"

    return make


@pytest.mark.parametrize(
    ("names", "model_file", "chosen"),
    [
        (["model/dict.pt2"], None, "model/dict.pt2"),
        (["model/dict.pt2"], "model/dict.pt2", "model/dict.pt2"),
        (["a/b/c/m.pt", "a/notes.txt", "readme.txt"], None, "a/b/c/m.pt"),
        (["m.pt2", "old/m.pt2"], None, "m.pt2"),
        (["m.pt2", "old/m.pt2"], "old/m.pt2", "old/m.pt2"),
        (["weights/weights.bin"], None, "weights/weights.bin"),
    ],
)
def test_a_model_in_a_sub_folder(
    place: Callable[..., str], names: list[str], model_file: str | None, chosen: str, tmp_path: Path
) -> None:
    file = fetch(place(*names), model_file, tmp_path)
    assert file.read_text() == chosen
    assert file.name == chosen.rpartition("/")[2]


@pytest.mark.parametrize(
    ("names", "model_file", "message"),
    [
        (["a/m.pt2", "b/m.pt2"], None, "it holds a/m.pt2, b/m.pt2: name the file by --model_file"),
        (["m.pt2", "n.pt2", "old/m.pt2"], None, "it holds m.pt2, n.pt2, old/m.pt2: name the file"),
        (["a.txt", "model/b.txt"], None, "it holds a.txt, model/b.txt: name the file"),
        (["model/m.pt2"], "m.pt2", "--model_file: there is no m.pt2 in .*made, it holds model/m.pt2"),
        (["model/m.pt2"], "../made/model/m.pt2", "--model_file: there is no ../made/model/m.pt2"),
        (["model/m.pt2"], "empty/", "--model_file: there is no empty/"),
    ],
)
def test_a_sub_folder_that_is_not_clear(
    place: Callable[..., str], names: list[str], model_file: str | None, message: str, tmp_path: Path
) -> None:
    with pytest.raises(StorageError, match=message):
        fetch(place(*names), model_file, tmp_path)


def test_a_huge_folder_is_not_walked_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.storage._MOST_FILES", 20)
    for number in range(40):
        (tmp_path / f"{number:02}.txt").touch()
    with pytest.raises(StorageError, match=r"it holds (\d\d.txt, ){10}…: name the file"):
        fetch(str(tmp_path), None, tmp_path)


def test_a_local_folder_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="there is neither a folder nor a file .*/none"):
        fetch(f"{tmp_path}/none", None, tmp_path)
