"""A Beam filesystem of the tests' own, memory://…, as any that is installed beside Beam would be."""

from __future__ import annotations

import io
from typing import Any

from apache_beam.io.filesystem import BeamIOError, CompressionTypes, FileSystem

# By full path: what the object holds, or what reading it raises.
OBJECTS: dict[str, bytes | Exception] = {}


class MemoryFileSystem(FileSystem):
    """Objects that can be read. Beam finds it by its scheme, among the subclasses of its base."""

    @classmethod
    def scheme(cls) -> str:
        return "memory"

    def open(
        self,
        path: str,
        mime_type: str = "application/octet-stream",
        compression_type: str = CompressionTypes.AUTO,
    ) -> io.BytesIO:
        # Beam's own filesystems unpack here; a reader that wants the bytes as they are has to say so.
        assert compression_type == CompressionTypes.UNCOMPRESSED
        thing = OBJECTS.get(path)
        if thing is None:
            raise FileNotFoundError(path)
        if isinstance(thing, Exception):
            raise thing
        return io.BytesIO(thing)

    def size(self, path: str) -> int:
        with self.open(path, compression_type=CompressionTypes.UNCOMPRESSED) as content:
            return len(content.read())

    def _refuse(self, *arguments: Any) -> Any:
        raise BeamIOError("objects are read, nothing else")

    join = split = mkdirs = has_dirs = _list = create = copy = rename = exists = _refuse
    last_updated = checksum = metadata = delete = _refuse
