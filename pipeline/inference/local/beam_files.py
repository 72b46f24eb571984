"""The job's files: on this machine, and on any of Beam's filesystems (gs://… and others installed)."""

from __future__ import annotations

from typing import BinaryIO, cast

from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems

from pipeline.model.files.stored_files import StoredFiles


class _BeamStorage:
    """See `pipeline.model.files.stored_files.Storage`."""

    def size(self, path: str) -> int:
        return int(FileSystems.get_filesystem(path).size(path))

    def open(self, path: str) -> BinaryIO:
        # The bytes as they are: by default Beam unpacks files named .gz.
        return cast(BinaryIO, FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED))


BEAM_FILES = StoredFiles(_BeamStorage())
