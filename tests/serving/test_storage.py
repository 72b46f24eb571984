"""Cloud Storage is a loopback server that speaks what is needed of its JSON API."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import orjson
import pytest

from serving.storage import StorageError, fetch


class CloudStorage(ThreadingHTTPServer):
    """One bucket named `bucket`, listed in pages of two objects."""

    def __init__(self, objects: dict[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.objects = objects
        self.downloads: list[str] = []


class _Handler(BaseHTTPRequestHandler):
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

    def log_message(self, format: str, *args: object) -> None:
        pass


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
    with CloudStorage(objects) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{server.server_port}")
        yield server
        server.shutdown()
        thread.join()


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


def test_a_local_folder_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="there is neither a folder nor a file .*/none"):
        fetch(f"{tmp_path}/none", None, tmp_path)
