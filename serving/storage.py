"""From AIP_STORAGE_URI to a model file on this machine."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

# The suffixes that PyTorch's own examples give torch.export files, TorchScript files and state_dicts.
_MODEL_SUFFIXES = (".pt2", ".pt", ".pth")
_CLOUD = "gs://"


class StorageError(Exception):
    """The model file cannot be had; the message says where it was looked for and what is there."""


def fetch(uri: str, model_file: str | None, folder: Path) -> Path:
    """Return the model file on this machine, downloaded into `folder` if it is in Cloud Storage.

    Args:
        uri: `gs://BUCKET/PREFIX` or a local folder; or a single file of either kind. Cloud Storage is read
            with the default credentials of this machine, or, at the address in STORAGE_EMULATOR_HOST,
            without any.
        model_file: The file's name below `uri`; None: the only file there, or the only one whose name ends
            in .pt2, .pt or .pth.
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
    return place / _choose((path.name for path in place.iterdir() if path.is_file()), model_file, uri)


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
            if _is_directly_in(prefix, blob.name)
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


def _is_directly_in(prefix: str, name: str) -> bool:
    if name == prefix:
        return True
    start = f"{prefix}/" if prefix else ""
    rest = name.removeprefix(start)
    return name.startswith(start) and bool(rest) and "/" not in rest


def _choose(names: Iterable[str], model_file: str | None, uri: str) -> str:
    there = sorted(names)
    if model_file is not None:
        if model_file not in there:
            raise StorageError(f"--model_file: there is no {model_file} in {uri}, {_listed(there)}")
        return model_file
    if len(there) == 1:
        return there[0]
    models = [name for name in there if name.endswith(_MODEL_SUFFIXES)]
    if len(models) != 1:
        raise StorageError(
            f"AIP_STORAGE_URI: {uri} must hold one model file ({', '.join(_MODEL_SUFFIXES)}), "
            f"{_listed(there)}: name the file by --model_file"
        )
    return models[0]


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:10]) + (", …" if len(names) > 10 else "")
    return f"it holds {shown}" if names else "it holds no file"
