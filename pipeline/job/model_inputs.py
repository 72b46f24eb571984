"""`--input_shape` out of the model's own file, where it is not given."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from pipeline.inference.local.beam_files import BEAM_FILES
from pipeline.model.files.input_shape import UnknownShapeError, input_shape
from pipeline.model.swapping.pointer import ModelPointer
from pipeline.options.job_options import LOCAL
from pipeline.request.errors import ModelError

_LOGGER = logging.getLogger(__name__)


def with_input_shape(argv: Sequence[str], texts: dict[str, str | None]) -> list[str]:
    """Return a command line with `--input_shape` as the model's .pt2 file says, unless it is given.

    A file of another kind does not say it; one that is missing or out of reach is told of when it is loaded.
    The flag's default stays then.

    Args:
        argv: Without `problems()`.
        texts: What its flags stand for, by their names.

    Raises:
        ModelError: The file is a .pt2, and its inputs are none that `--input_shape` can name.
    """
    given = {text.partition("=")[0].replace("-", "_") for text in argv}
    if texts["inference_mode"] != LOCAL or "__input_shape" in given:
        return list(argv)
    path = texts["model_path"]
    try:
        if path is None:
            assert texts["model_pointer"] is not None  # one of the two is given
            path = ModelPointer(BEAM_FILES, texts["model_pointer"], texts["model_root"]).path()
        with BEAM_FILES.opened(path) as file:
            shape = input_shape(file)
    except UnknownShapeError as error:
        raise ModelError(f"--input_shape: missing, and {path} does not say it: {error}") from error
    except (OSError, ModelError) as error:
        _LOGGER.warning("--input_shape: not given, and not read from the model: %s", error)
        return list(argv)
    if shape is None:
        return list(argv)
    _LOGGER.info("--input_shape=%s, as %s says", shape, path)
    return [*argv, f"--input_shape={shape}"]
