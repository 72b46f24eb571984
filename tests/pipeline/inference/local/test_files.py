"""This machine's files, a filesystem of the test's own, and gs:// by Beam's client and a loopback server."""

from __future__ import annotations

import errno
import os
from collections import namedtuple
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import orjson
import pytest
from apache_beam.internal.gcp import auth

from pipeline.inference.local.files import fetch, is_local, read_small
from tests.loopback import QuietHandler, serving
from tests.pipeline.memory_files import OBJECTS


@pytest.fixture(autouse=True)
def no_objects() -> Iterator[None]:
    OBJECTS.clear()
    yield
    OBJECTS.clear()


class TestFetch:
    def test_a_local_path_is_left_alone(self, tmp_path: Path) -> None:
        (tmp_path / "folder").mkdir()
        assert fetch(str(tmp_path / "m.pt2"), tmp_path / "folder") == tmp_path / "m.pt2"
        assert fetch("m.pt2", tmp_path / "folder") == Path("m.pt2")
        assert not list((tmp_path / "folder").iterdir())

    def test_another_is_copied_under_its_own_name(self, tmp_path: Path) -> None:
        # gzip: not unpacked, whatever it is called.
        data = b"\x1f\x8b" + bytes(range(256)) * 1000
        OBJECTS["memory://bucket/models/v1.pt2.gz"] = data
        file = fetch("memory://bucket/models/v1.pt2.gz", tmp_path)
        assert file == tmp_path / "v1.pt2.gz"
        assert file.read_bytes() == data

    def test_none_there(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match="^there is no file memory://bucket/v1.pt2$"):
            fetch("memory://bucket/v1.pt2", tmp_path)

    def test_too_large(self, tmp_path: Path) -> None:
        OBJECTS["memory://bucket/v1.jsonl"] = b"1234567"
        assert fetch("memory://bucket/v1.jsonl", tmp_path, 7).read_bytes() == b"1234567"
        (tmp_path / "v1.jsonl").unlink()
        with pytest.raises(OSError, match="v1.jsonl cannot be read: it has more than 6 bytes$"):
            fetch("memory://bucket/v1.jsonl", tmp_path, 6)
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize("free", [6, 7])
    def test_a_full_disk(self, free: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def write(file: int, content: memoryview) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

        OBJECTS["memory://bucket/v1.pt2"] = b"1234567"
        usage = namedtuple("usage", "total used free")
        monkeypatch.setattr("shutil.disk_usage", lambda folder: usage(10, 3, free))
        monkeypatch.setattr(os, "write", write)
        with pytest.raises(
            OSError, match=r"v1.pt2 cannot be copied to \S+: the disk is full .*TMPDIR"
        ) as caught:
            fetch("memory://bucket/v1.pt2", tmp_path)
        assert caught.value.errno == errno.ENOSPC

    def test_storage_in_trouble(self, tmp_path: Path) -> None:
        OBJECTS["memory://bucket/v1.pt2"] = RuntimeError("the network is down")
        with pytest.raises(OSError, match="^memory://bucket/v1.pt2 cannot be read: the network is down$"):
            fetch("memory://bucket/v1.pt2", tmp_path)

    def test_a_filesystem_that_nobody_has(self, tmp_path: Path) -> None:
        with pytest.raises(OSError, match="tape://v1.pt2 cannot be read: .*filesystem"):
            fetch("tape://v1.pt2", tmp_path)


class TestReadSmall:
    @pytest.mark.parametrize("path", ["local", "memory://bucket/pointer"])
    def test_text_of_the_size(self, path: str, tmp_path: Path) -> None:
        name = str(tmp_path / path) if is_local(path) else path

        def write(data: bytes) -> None:
            if is_local(path):
                Path(name).write_bytes(data)
            else:
                OBJECTS[name] = data

        with pytest.raises(FileNotFoundError, match=f"^there is no file {name}$"):
            read_small(name, 6)
        write("zwölf".encode())
        assert read_small(name, 6) == "zwölf"
        write(b"1234567")
        with pytest.raises(OSError, match=f"{name} cannot be read: it has more than 6 bytes"):
            read_small(name, 6)
        write(b"1\xff3")
        with pytest.raises(OSError, match=f"{name} is not UTF-8: byte 0xff at 1"):
            read_small(name, 6)

    def test_a_folder(self, tmp_path: Path) -> None:
        with pytest.raises(OSError, match="cannot be read: .*directory"):
            read_small(str(tmp_path), 6)


class CloudStorage(ThreadingHTTPServer):
    """Cloud Storage's JSON API, as far as Beam's client reads by it: one bucket named `bucket`."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.objects: dict[str, bytes] = {}


class _Handler(QuietHandler):
    server: CloudStorage

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        path = url.path.removeprefix("/download")
        name = unquote(path.removeprefix("/storage/v1/b/bucket/o/"))
        data = self.server.objects.get(name)
        if data is None:
            self._answer(404, orjson.dumps({"error": {"code": 404, "message": f"No such object: {name}"}}))
        elif parse_qs(url.query).get("alt") == ["media"]:
            first, _, last = self.headers["Range"].removeprefix("bytes=").partition("-")
            part = data[int(first) : int(last) + 1]
            self._answer(206, part, f"bytes {first}-{int(first) + len(part) - 1}/{len(data)}")
        else:
            about = {"bucket": "bucket", "name": name, "size": str(len(data)), "generation": "1"}
            self._answer(200, orjson.dumps(about))

    def _answer(self, status: int, body: bytes, content_range: str | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        if content_range is not None:
            self.send_header("Content-Range", content_range)
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Iterator[CloudStorage]:
    # As where no credentials are found, without the search for them, which takes seconds.
    monkeypatch.setattr(auth, "get_service_credentials", lambda options: None)
    server = CloudStorage()
    with serving(server):
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{server.server_port}")
        yield server


class TestCloudStorage:
    def test_an_object(self, cloud: CloudStorage, tmp_path: Path) -> None:
        data = bytes(range(256)) * 100
        cloud.objects["models/v1.pt2"] = data
        assert fetch("gs://bucket/models/v1.pt2", tmp_path).read_bytes() == data
        cloud.objects["models/current"] = b"v1.pt2\n"
        assert read_small("gs://bucket/models/current", 100) == "v1.pt2\n"

    def test_none_there(self, cloud: CloudStorage, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match="^there is no file gs://bucket/models/v1.pt2$"):
            fetch("gs://bucket/models/v1.pt2", tmp_path)
        with pytest.raises(FileNotFoundError):
            read_small("gs://bucket/current", 100)

    def test_no_object_is_named(self, cloud: CloudStorage) -> None:
        with pytest.raises(OSError, match="gs://bucket cannot be read: GCS path must be in the form"):
            read_small("gs://bucket", 100)
