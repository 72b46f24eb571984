"""This machine's files, a filesystem of the test's own, and gs:// by Beam's client and a loopback server."""

from __future__ import annotations

import errno
import os
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path

import pytest
from apache_beam.internal.gcp import auth

from pipeline.inference.local.beam_files import BEAM_FILES
from pipeline.model.files.stored_files import StoredFiles, is_local
from serving.cloud_storage import CloudStorage
from tests.bucket import Bucket
from tests.loopback import serving
from tests.pipeline.memory_files import OBJECTS


@pytest.fixture(autouse=True)
def no_objects() -> Iterator[None]:
    OBJECTS.clear()
    yield
    OBJECTS.clear()


class TestFetch:
    def test_a_local_path_is_left_alone(self, tmp_path: Path) -> None:
        (tmp_path / "folder").mkdir()
        assert BEAM_FILES.fetch(str(tmp_path / "m.pt2"), tmp_path / "folder") == tmp_path / "m.pt2"
        assert BEAM_FILES.fetch("m.pt2", tmp_path / "folder") == Path("m.pt2")
        assert not list((tmp_path / "folder").iterdir())

    def test_another_is_copied_under_its_own_name(self, tmp_path: Path) -> None:
        # gzip: not unpacked, whatever it is called.
        data = b"\x1f\x8b" + bytes(range(256)) * 1000
        OBJECTS["memory://bucket/models/v1.pt2.gz"] = data
        file = BEAM_FILES.fetch("memory://bucket/models/v1.pt2.gz", tmp_path)
        assert file == tmp_path / "v1.pt2.gz"
        assert file.read_bytes() == data

    def test_none_there(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match="^there is no file memory://bucket/v1.pt2$"):
            BEAM_FILES.fetch("memory://bucket/v1.pt2", tmp_path)

    def test_too_large(self, tmp_path: Path) -> None:
        OBJECTS["memory://bucket/v1.jsonl"] = b"1234567"
        assert BEAM_FILES.fetch("memory://bucket/v1.jsonl", tmp_path, 7).read_bytes() == b"1234567"
        (tmp_path / "v1.jsonl").unlink()
        with pytest.raises(OSError, match="v1.jsonl cannot be read: it has more than 6 bytes$"):
            BEAM_FILES.fetch("memory://bucket/v1.jsonl", tmp_path, 6)
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
            BEAM_FILES.fetch("memory://bucket/v1.pt2", tmp_path)
        assert caught.value.errno == errno.ENOSPC

    def test_storage_in_trouble(self, tmp_path: Path) -> None:
        OBJECTS["memory://bucket/v1.pt2"] = RuntimeError("the network is down")
        with pytest.raises(OSError, match="^memory://bucket/v1.pt2 cannot be read: the network is down$"):
            BEAM_FILES.fetch("memory://bucket/v1.pt2", tmp_path)

    def test_a_filesystem_that_nobody_has(self, tmp_path: Path) -> None:
        with pytest.raises(OSError, match="tape://v1.pt2 cannot be read: .*filesystem"):
            BEAM_FILES.fetch("tape://v1.pt2", tmp_path)


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
            BEAM_FILES.read_small(name, 6)
        write("zwölf".encode())
        assert BEAM_FILES.read_small(name, 6) == "zwölf"
        write(b"1234567")
        with pytest.raises(OSError, match=f"{name} cannot be read: it has more than 6 bytes"):
            BEAM_FILES.read_small(name, 6)
        write(b"1\xff3")
        with pytest.raises(OSError, match=f"{name} is not UTF-8: byte 0xff at 1"):
            BEAM_FILES.read_small(name, 6)

    def test_a_folder(self, tmp_path: Path) -> None:
        with pytest.raises(OSError, match="cannot be read: .*directory"):
            BEAM_FILES.read_small(str(tmp_path), 6)


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    # As where no credentials are found, without the search for them, which takes seconds.
    monkeypatch.setattr(auth, "get_service_credentials", lambda options: None)
    server = Bucket()
    with serving(server):
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{server.server_port}")
        yield server


@pytest.fixture(params=["the job's", "the container's"])
def files(request: pytest.FixtureRequest, bucket: Bucket) -> StoredFiles:
    return BEAM_FILES if request.param == "the job's" else StoredFiles(CloudStorage())


class TestCloudStorage:
    def test_an_object(self, bucket: Bucket, files: StoredFiles, tmp_path: Path) -> None:
        data = bytes(range(256)) * 100
        bucket.objects["models/v1.pt2"] = data
        assert files.fetch("gs://bucket/models/v1.pt2", tmp_path).read_bytes() == data
        bucket.objects["models/current"] = b"v1.pt2\n"
        assert files.read_small("gs://bucket/models/current", 100) == "v1.pt2\n"

    def test_none_there(self, files: StoredFiles, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match="^there is no file gs://bucket/models/v1.pt2$"):
            files.fetch("gs://bucket/models/v1.pt2", tmp_path)
        with pytest.raises(FileNotFoundError):
            files.read_small("gs://bucket/current", 100)

    def test_no_object_is_named(self, files: StoredFiles) -> None:
        with pytest.raises(OSError, match="gs://bucket cannot be read: .* must .* form"):
            files.read_small("gs://bucket", 100)


class TestTheContainersCloudStorage:
    """Beam's client tries what is refused again for minutes; of empty objects it is never asked here."""

    def test_an_object_without_bytes(self, bucket: Bucket) -> None:
        bucket.objects["current"] = b""
        assert StoredFiles(CloudStorage()).read_small("gs://bucket/current", 100) == ""

    def test_larger_than_a_chunk(
        self, bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("serving.cloud_storage._CHUNK_BYTES", 100)
        bucket.objects["v1.pt2"] = data = bytes(range(250))
        assert StoredFiles(CloudStorage()).fetch("gs://bucket/v1.pt2", tmp_path).read_bytes() == data
        with StoredFiles(CloudStorage()).opened("gs://bucket/v1.pt2") as file:
            file.seek(-3, 2)
            assert file.read() == data[-3:]

    def test_no_access(self, bucket: Bucket) -> None:
        bucket.fails = True
        with pytest.raises(OSError, match="^gs://bucket/current cannot be read: 403 .*no access"):
            StoredFiles(CloudStorage()).read_small("gs://bucket/current", 100)

    def test_another_storage(self) -> None:
        with pytest.raises(OSError, match="s3://bucket/current cannot be read: it must have the form gs://"):
            StoredFiles(CloudStorage()).read_small("s3://bucket/current", 100)
