"""The objects of Cloud Storage, by their gs:// paths."""

from __future__ import annotations

from functools import cached_property
from typing import Any, BinaryIO, cast

# By default the client reads 40 MiB at once.
_CHUNK_BYTES = 16 * 1024 * 1024
_CLOUD = "gs://"


class CloudStorage:
    """See `pipeline.model.files.stored_files.Storage`.

    Read with the default credentials of this machine, or, at the address in STORAGE_EMULATOR_HOST, without
    any.
    """

    def size(self, path: str) -> int:
        """Return the bytes of an object."""
        return int(self._object(path).size)

    def open(self, path: str) -> BinaryIO:
        """Open an object as it is now; written over meanwhile, it cannot be read on."""
        # `get_blob` notes the generation, and each chunk is asked for of this very one.
        return cast(BinaryIO, self._object(path).open("rb", chunk_size=_CHUNK_BYTES, raw_download=True))

    def _object(self, path: str) -> Any:
        bucket, _, name = path.removeprefix(_CLOUD).partition("/")
        if not (path.startswith(_CLOUD) and bucket and name):
            raise ValueError("it must have the form gs://BUCKET/OBJECT")
        found = self._client.bucket(bucket).get_blob(name)
        if found is None:
            raise FileNotFoundError(path)
        return found

    @cached_property
    def _client(self) -> Any:
        # Importing it takes a second, which a local model need not wait for.
        from google.cloud import storage

        return storage.Client()
