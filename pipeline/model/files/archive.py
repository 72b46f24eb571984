"""The archive that a model file is: which parts it has, held to what torch writes."""

from __future__ import annotations

import io
import os
import re
import zipfile
from collections.abc import Mapping

import torch

# PyTorch's own limit on neither exists. A large language model has some 1,000 parts, and a graph of 30 MB.
_MOST_PARTS = 100_000
_MOST_TEXT_BYTES = 100_000_000

_LOCAL_HEADER_BYTES = 30
_ENCRYPTED = 1


# What torch writes beside the parts proper: versions, the order of bytes, a hash.
BESIDES = {
    r"(\.data/)?version|\.data/serialization_id|byteorder|\.format_version|\.storage_alignment": False,
    r"extra/[\w.\-/ ]{1,200}": False,
}


class RefusedPartError(Exception):
    """A part of a model file is not as torch writes it. The message says which, and why it is refused."""

    def __init__(self, part: str, reason: str) -> None:
        # A name is the file's own: cut, and without control characters.
        shown = "".join(c if c.isprintable() else "?" for c in part[:200])
        super().__init__(f"its part {shown} {reason}")


class Archive:
    """A zip file as torch writes it, its parts known by the patterns of an allow-list.

    Names are compared, and contents read, by torch's own reader, so that no part is seen otherwise here than
    by torch when it loads the file. The file must not change meanwhile.

    Attributes:
        size: The file's bytes.
    """

    def __init__(self, source: str | bytes, allowed: Mapping[str, bool]) -> None:
        """Open an archive.

        Args:
            source: The file's path, or its content.
            allowed: For each kind of part a regular expression that its whole name matches, without the
                archive's first folder; and whether it may be compressed.

        Raises:
            RefusedPartError: A part is of no kind that is allowed, is there twice, is compressed or encrypted
                though it must not be, or claims to be larger than the file.
            zipfile.BadZipFile: The file is damaged.
            RuntimeError: It is, to torch's reader.
        """
        self.size = os.stat(source).st_size if isinstance(source, str) else len(source)
        with zipfile.ZipFile(_opened(source)) as archive:
            parts = archive.infolist()
        if not 0 < len(parts) <= _MOST_PARTS:
            raise zipfile.BadZipFile(f"an archive of {len(parts):,} parts")
        top = parts[0].filename.partition("/")[0]
        compressed = 0
        self._sizes: dict[str, int] = {}
        seen: set[str] = set()
        for part in parts:
            # Not `filename`, which ends at a NUL.
            folder, _, name = part.orig_filename.partition("/")
            if folder != top:
                raise RefusedPartError(part.orig_filename, f"is outside the archive's folder, {top[:200]}")
            pattern = next((each for each in allowed if re.fullmatch(each, name, re.ASCII)), None)
            if pattern is None:
                raise RefusedPartError(name, "is none that such a file has")
            # torch looks parts up without regard to case, and takes the first.
            if name.casefold() in seen:
                raise RefusedPartError(name, "is there twice")
            seen.add(name.casefold())
            compressed += _check_size(part, name, self.size, allowed[pattern])
            self._sizes[name] = part.file_size
        if compressed > _MOST_TEXT_BYTES:
            raise RefusedPartError(f"{top}/", f"is more than {_MOST_TEXT_BYTES:,} bytes once it is unpacked")
        _check_overlap(parts)
        self._reader = torch._C.PyTorchFileReader(_opened(source))
        if sorted(self._reader.get_all_records()) != sorted(self._sizes):
            raise zipfile.BadZipFile("two readers disagree on its parts")
        for name, length in self._sizes.items():
            if self._reader.get_record_size(name) != length:
                raise RefusedPartError(name, "has two sizes")

    @property
    def sizes(self) -> Mapping[str, int]:
        """The bytes of each part, unpacked, by its name."""
        return self._sizes

    def text(self, name: str) -> bytes:
        """Return a part that is text or a pickle, of 100 MB at most.

        Raises:
            RefusedPartError: It is missing, or larger.
        """
        if name not in self._sizes:
            raise RefusedPartError(name, "is missing")
        if self._sizes[name] > _MOST_TEXT_BYTES:
            raise RefusedPartError(name, f"has more than {_MOST_TEXT_BYTES:,} bytes")
        content: bytes = self._reader.get_record(name)
        return content


def _opened(source: str | bytes) -> str | io.BytesIO:
    return source if isinstance(source, str) else io.BytesIO(source)


def _check_size(part: zipfile.ZipInfo, name: str, file_size: int, may_be_compressed: bool) -> int:
    """Return the bytes that a compressed part unpacks to; 0 for one that is stored as it is."""
    if part.flag_bits & _ENCRYPTED:
        raise RefusedPartError(name, "is encrypted")
    if part.compress_size > file_size:
        raise RefusedPartError(name, "is larger than the file")
    if part.compress_type == zipfile.ZIP_STORED:
        if part.file_size != part.compress_size:
            raise RefusedPartError(name, "has two sizes")
        return 0
    if not may_be_compressed or part.compress_type != zipfile.ZIP_DEFLATED:
        raise RefusedPartError(name, "is compressed, which torch does not do there")
    return part.file_size


def _check_overlap(parts: list[zipfile.ZipInfo]) -> None:
    """Refuse parts that share bytes: by them a small file could hold many large parts."""
    end, before = 0, ""
    for part in sorted(parts, key=lambda each: each.header_offset):
        if part.header_offset < end:
            raise RefusedPartError(part.filename, f"overlaps {before[:200]}")
        end = part.header_offset + _LOCAL_HEADER_BYTES + len(part.orig_filename) + part.compress_size
        before = part.filename
