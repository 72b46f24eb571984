"""From AIP_STORAGE_URI to a model file on this machine."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

# The suffixes that PyTorch's own examples give torch.export files, TorchScript files and state_dicts.
_MODEL_SUFFIXES = (".pt2", ".pt", ".pth")
_CLOUD = "gs://"
# Of a local folder: one such as / must not be walked for minutes.
_MOST_FILES = 10_000


class StorageError(Exception):
    """The model file cannot be had; the message says where it was looked for and what is there."""


def fetch(uri: str, model_file: str | None, folder: Path) -> Path:
    """Return the model file on this machine, downloaded into `folder` if it is in Cloud Storage.

    Args:
        uri: `gs://BUCKET/PREFIX` or a local folder; or a single file of either kind. Cloud Storage is read
            with the default credentials of this machine, or, at the address in STORAGE_EMULATOR_HOST,
            without any.
        model_file: The file's path below `uri`; None: the only one directly there whose name ends in .pt2,
            .pt or .pth, else the only one in its sub-folders, else the only file of any name.
        folder: An existing folder.

    Raises:
        StorageError: There is no such file, there are several, or Cloud Storage cannot be read.
    """
    if is_downloaded(uri):
        return _download(uri, model_file, folder)
    place = Path(uri)
    if place.is_file():
        return place
    if not place.is_dir():
        raise StorageError(f"AIP_STORAGE_URI: there is neither a folder nor a file {uri}")
    return place / _choose(_files_in(place), model_file, uri)


def is_downloaded(uri: str) -> bool:
    """Return whether `fetch` makes a copy of what `uri` names."""
    return uri.startswith(_CLOUD)


def _download(uri: str, model_file: str | None, folder: Path) -> Path:
    # Importing these takes a second, which a local model need not wait for.
    from google.api_core.exceptions import GoogleAPIError
    from google.auth.exceptions import GoogleAuthError
    from google.cloud import storage
    from requests.exceptions import RequestException

    bucket, _, prefix = uri.removeprefix(_CLOUD).partition("/")
    prefix = prefix.rstrip("/")
    try:
        client = storage.Client()
        blobs = {
            blob.name: blob
            for blob in client.list_blobs(bucket, prefix=prefix)
            if _is_below(prefix, blob.name)
        }
        if prefix in blobs:
            chosen = prefix
        else:
            start = f"{prefix}/" if prefix else ""
            chosen = start + _choose((name.removeprefix(start) for name in blobs), model_file, uri)
        target = folder / chosen.rpartition("/")[2]
        blobs[chosen].download_to_filename(target)
    except (GoogleAPIError, GoogleAuthError, RequestException, OSError) as error:
        raise StorageError(
            f"AIP_STORAGE_URI: {uri} cannot be read ({error}): "
            "does it exist, and may the service account read it (roles/storage.objectViewer)?"
        ) from error
    return target


def _files_in(place: Path) -> Iterator[str]:
    """Yield the paths of the files below a folder; beyond a number that no model needs, none."""
    found = 0
    for folder, _, names in os.walk(place):
        for name in names:
            path = Path(folder, name)
            if path.is_file():
                yield path.relative_to(place).as_posix()
                found += 1
                if found == _MOST_FILES:
                    return


def _is_below(prefix: str, name: str) -> bool:
    if name == prefix:
        return True
    start = f"{prefix}/" if prefix else ""
    # What ends in a slash stands for a folder.
    return name.startswith(start) and not name.endswith("/")


def _choose(names: Iterable[str], model_file: str | None, uri: str) -> str:
    there = sorted(names, key=lambda name: (name.count("/"), name))
    if model_file is not None:
        if model_file not in there:
            raise StorageError(f"--model_file: there is no {model_file} in {uri}, {_listed(there)}")
        return model_file
    models = [name for name in there if name.endswith(_MODEL_SUFFIXES)]
    # A model in a sub-folder is often an older one of that which stands directly here.
    direct = [name for name in models if "/" not in name]
    for candidates in (direct, models, there):
        if len(candidates) == 1:
            return candidates[0]
        if candidates:
            break
    raise StorageError(
        f"AIP_STORAGE_URI: {uri} must hold one model file ({', '.join(_MODEL_SUFFIXES)}), "
        f"{_listed(there)}: name the file by --model_file"
    )


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:10]) + (", …" if len(names) > 10 else "")
    return f"it holds {shown}" if names else "it holds no file"
