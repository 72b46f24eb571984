"""Checks a torch.export file (.pt2) before torch.export.load sees it, which by itself runs what it finds."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from typing import Any

import torch

from pipeline.model.files import program_check
from pipeline.model.files.archive import BESIDES, Archive, RefusedPartError
from pipeline.model.files.tensors_check import TENSORS, describe_refusal

_PROGRAM = "models/model.json"
_EXAMPLES = "data/sample_inputs/model.pt"
_CONFIGS = {
    "data/weights/model_weights_config.json": "data/weights/weight_",
    "data/constants/model_constants_config.json": "data/constants/tensor_",
}

# Exactly one model, its tensors as plain bytes; no native code (data/aotinductor/), no pickles but that of
# the example inputs, which torch always writes.
PARTS: Mapping[str, bool] = {
    r"archive_format|archive_version": False,
    r"models/model\.json": False,
    r"data/weights/(model_weights_config\.json|weight_\d{1,6})": False,
    r"data/constants/(model_constants_config\.json|tensor_\d{1,6})": False,
    r"data/sample_inputs/model\.pt": False,
    **BESIDES,
}

# A tensor that repeats its storage is larger than the file says, once it is copied; up to this it may be.
_MOST_REPEATED = 2**28


def check(path: str) -> None:
    """Check an export.

    Raises:
        RefusedPartError: A part is not as torch.export.save writes it.
        zipfile.BadZipFile: The file is damaged.
        RuntimeError: It is, to torch's reader.
    """
    archive = Archive(path, PARTS)
    program_check.check(archive.text(_PROGRAM))
    for config, prefix in _CONFIGS.items():
        _check_tensors(archive, config, prefix)
    _check_examples(archive.text(_EXAMPLES))


def _check_tensors(archive: Archive, config: str, prefix: str) -> None:
    content = program_check.parse(archive.text(config), config)
    if not isinstance(content, dict) or set(content) != {"config"} or not isinstance(content["config"], dict):
        raise RefusedPartError(config, "is no list of tensors")
    folder = prefix.rpartition("/")[0]
    for name, tensor in content["config"].items():
        if not program_check.is_path(name):
            raise RefusedPartError(config, "holds a name that torch does not give")
        if not isinstance(tensor, dict) or set(tensor) != {
            "path_name",
            "is_param",
            "use_pickle",
            "tensor_meta",
        }:
            raise RefusedPartError(config, f"holds {name}, which is no tensor")
        part = f"{folder}/{tensor['path_name']}"
        # Also custom_obj_ and opaque_obj_, by which torch would read pickles whatever `use_pickle` says.
        if (
            not part.startswith(prefix)
            or part not in archive.sizes
            or not isinstance(tensor["is_param"], bool)
        ):
            raise RefusedPartError(config, f"holds {name}, which is no tensor of the file: {part[:200]}")
        if tensor["use_pickle"] is not False:
            raise RefusedPartError(part, "holds more than tensors, and loading it could run any code")
        _check_extent(name, part, tensor["tensor_meta"], archive)


def _check_extent(name: str, part: str, meta: Any, archive: Archive) -> None:
    """Refuse a tensor that has more elements than the file has, unless it is small."""
    try:
        known = program_check.is_tensor_meta(meta)
        elements = math.prod(size["as_int"] for size in meta["sizes"]) if known else -1
        valid = isinstance(elements, int) and elements >= 0
    except (KeyError, TypeError):
        valid = False
    if not valid:
        raise RefusedPartError(part, f"has no size ({name})")
    # torch makes zeros where there are no bytes.
    most = max(archive.size, _MOST_REPEATED) if archive.sizes[part] else 0
    if elements > most:
        raise RefusedPartError(
            part, f"would make {elements:,} numbers of {archive.sizes[part]:,} bytes ({name})"
        )


def _check_examples(content: bytes) -> None:
    if not content:
        return
    try:
        Archive(content, TENSORS)
        # What passes here, torch loads in the same way; only what fails, it would load as any pickle.
        torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except RefusedPartError as error:
        raise RefusedPartError(_EXAMPLES, f"is refused: {error}") from None
    except Exception as error:
        raise RefusedPartError(
            _EXAMPLES,
            "holds more than tensors, and loading it could run any code. Export the model anew, without such "
            f"example inputs: {describe_refusal(error)}",
        ) from error
