"""From the path of a stored model to a model that has answered its golden set."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.model import golden
from pipeline.model.compute import Compute
from pipeline.model.files.stored_files import StoredFiles, is_local
from pipeline.model.load import load
from pipeline.model.model import Model
from pipeline.request.errors import ModelError, TransientError
from pipeline.request.input_spec import InputSpec


def load_stored(
    files: StoredFiles,
    path: str,
    spec: InputSpec,
    *,
    label: str,
    golden_set: str | None = None,
    model_class: str | None,
    model_params: Mapping[str, Any] | None,
    max_batch_size: int,
    compute: Compute,
) -> Model:
    """Fetch and load a model, and check it against its golden set.

    Args:
        files: Which `path` and `golden_set` are among.
        path: Of the model file.
        spec: The model's inputs.
        label: How messages begin: the flag and the path.
        golden_set: Path of the golden set; None: the model is not checked.
        model_class: See `pipeline.model.load.load`, as for the following.
        model_params: Keyword arguments of that class.
        max_batch_size: Rows of the largest batch.
        compute: Device, precision, and how to compute.

    Raises:
        ModelError: The model or its golden set is missing or of no use, or the two do not match.
        TransientError: The storage cannot be read now, or the disk is full.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="model-") as folder:
            model = load(
                str(_fetch(files, path, folder, ModelError(f"{label}: there is no file"))),
                spec,
                model_class=model_class,
                model_params=model_params,
                max_batch_size=max_batch_size,
                compute=compute,
                label=label,
                is_private=not is_local(path),
            )
            if golden_set is not None:
                golden.check(
                    model,
                    _fetch(files, golden_set, folder, golden.missing(label, spec), golden.MOST_BYTES),
                    spec,
                    compute.precision,
                    max_batch_size=max_batch_size,
                    label=label,
                )
    except OSError as error:
        if is_local(path):
            raise ModelError(f"{label}: {error}") from error
        # The storage is unavailable, or the disk is full: the same may work in a moment.
        raise TransientError(f"{label}: {error}") from error
    return model


def _fetch(files: StoredFiles, path: str, folder: str, missing: ModelError, limit: int | None = None) -> Path:
    try:
        return files.fetch(path, Path(folder), limit)
    except FileNotFoundError:
        raise missing from None
